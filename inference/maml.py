"""Learned initialisation: MAML, gradient steps from learned weights of a network.

Finn, Abbeel and Levine 2017, "Model-agnostic meta-learning", arXiv 1703.03400. The rate is learned
as well, one for all weights.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import PRNGKeyArray

from amortppl.predictive.gradient_predictor import GradientPredictor, gradient_predictor
from amortppl.task.abstract import AbstractTask


@dataclass(frozen=True)
class MAML:
    """Options: width of both hidden layers, gradient steps a mini-batch, the rate to begin with,
    and the
    height and width of the input, where it is an image."""

    width: int = 40
    updates: int = 5
    rate: float = 0.05
    image: tuple[int, int] | None = None

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 4000, "batch": 32}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> GradientPredictor:
        """Draws the weights for a task."""
        return gradient_predictor(task, self.width, self.updates, self.rate, False, key, self.image)


METHOD = MAML
