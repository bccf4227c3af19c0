"""Explicit regime: a latent neural process, with a posterior over a learned task latent z.

Garnelo et al. 2018, "Neural processes", arXiv 1807.01622; trained by the joint predictive density
as in Foong et al. 2020, "Meta-learning stationary stochastic process prediction with convolutional
neural processes", arXiv 2007.01332.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import PRNGKeyArray

from amortppl.predictive.neural_process import NeuralProcess, neural_process
from amortppl.task.abstract import AbstractTask


@dataclass(frozen=True)
class LatentNeuralProcess:
    """Options: numbers in z, widths of the networks and of the head's perceptron, and whether z is
    stochastic.
    """

    latent: int = 16
    hidden: int = 64
    head: int = 0
    stochastic: bool = True

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults; mini-batches change nothing, because factors add up."""
        return {"steps": 4000, "batch": 64}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> NeuralProcess:
        """Draws the weights for a task."""
        return neural_process(task, self.latent, self.hidden, self.head, self.stochastic, key)


METHOD = LatentNeuralProcess
