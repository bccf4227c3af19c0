"""Explicit regime: a conditional neural process, which predicts each query by itself.

Garnelo et al. 2018, "Conditional neural processes", arXiv 1807.01613.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import PRNGKeyArray

from amortppl.predictive.neural_process import NeuralProcess, neural_process
from amortppl.task.abstract import AbstractTask


@dataclass(frozen=True)
class ConditionalNeuralProcess:
    """Options: numbers in the task's representation, widths of the networks and of the head's
    perceptron.
    """

    latent: int = 16
    hidden: int = 64
    head: int = 64

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults; mini-batches change nothing, because factors add up."""
        return {"steps": 4000, "batch": 64}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> NeuralProcess:
        """Draws the weights for a task."""
        return neural_process(task, self.latent, self.hidden, self.head, False, key)


METHOD = ConditionalNeuralProcess
