"""Laplace approximation, un-learned: the mode by Newton's method and the curvature there.

MacKay 1992, "A practical Bayesian framework for backpropagation networks"; over mini-batches as in
Ritter, Botev and Barber 2018, "Online structured Laplace approximations", arXiv 1805.07810.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, PRNGKeyArray

from amortppl.gaussian.frame import Frame, LogDensity
from amortppl.gaussian.newton import gradient_and_curvature, newton_mode
from amortppl.gaussian.recursive import RecursiveGuide, prior_scale
from amortppl.task.abstract import AbstractTask


class LaplaceGuide(RecursiveGuide):
    """The built method. See `Laplace` for its options."""

    def fit(self, joint: Callable[[Array], Array], start: Frame) -> Frame:
        """Newton ascent from the last mode."""
        return newton_mode(joint, start.location, None, self.options.newton)

    def expand(self, f: LogDensity, frame: Frame) -> tuple[Array, Array]:
        """Whitened gradient and curvature at the frame's location, as of the mode."""
        gradient, matrix = gradient_and_curvature(f, frame.location)
        half = solve_triangular(frame.factor, matrix, lower=True)
        return (
            solve_triangular(frame.factor, gradient, lower=True),
            solve_triangular(frame.factor, half.T, lower=True),
        )


@dataclass(frozen=True)
class Laplace:
    """Options of the Laplace approximation.

    Attributes:
        newton: most Newton steps for a mini-batch.
    """

    newton: int = 20

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Nothing is trained."""
        return {"steps": 0}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> LaplaceGuide:
        """Prior units for a task."""
        return LaplaceGuide(task=task, options=self, scale=prior_scale(task, key, "laplace"))


METHOD = Laplace
