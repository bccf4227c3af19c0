"""Learned initialisation and learned rates: Meta-SGD, with a rate for every weight of a network.

Li, Zhou, Chen and Li 2017, "Meta-SGD: Learning to learn quickly for few-shot learning", arXiv
1707.09835.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import PRNGKeyArray

from amortppl.predictive.gradient_predictor import GradientPredictor, gradient_predictor
from amortppl.task.abstract import AbstractTask


@dataclass(frozen=True)
class MetaSGD:
    """Options: width of both hidden layers, gradient steps a mini-batch, the rates to begin with,
    and the
    height and width of the input, where it is an image."""

    width: int = 40
    updates: int = 3
    rate: float = 0.05
    image: tuple[int, int] | None = None

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 4000, "batch": 32}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> GradientPredictor:
        """Draws the weights for a task."""
        return gradient_predictor(task, self.width, self.updates, self.rate, True, key, self.image)


METHOD = MetaSGD
