"""What a learned update of a Gaussian is for, and what it sees of a mini-batch."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.belief import Belief
from amortppl.gaussian.frame import LogDensity
from amortppl.task.batch import Batch

SIGNALS = ("data", "gradient", "curvature")
"""Rows, the gradient of their log likelihood at the state, and its -Hessian there."""

FAR = 10.0
"""Numbers beyond which tokens do not tell apart."""

BINDINGS = 2
"""Learned numbers that bind a latent to a row."""


class Shape(NamedTuple):
    """What an update is for.

    Attributes:
        sites: shape of each site of latents.
        row: numbers in a row's token.
        posterior: `full`, `diagonal` or `point`.
        signals: what it sees, of `SIGNALS`.
        closed_form: whether it begins with the mini-batch's Gaussian site.
        history: how many of the last steps it remembers.
        most: rows that it looks at together; a longer mini-batch is taken as several.
        depth: rows beyond which it was not trained.
    """

    sites: tuple[tuple[int, ...], ...]
    row: int
    posterior: str
    signals: tuple[str, ...]
    closed_form: bool = False
    history: int = 0
    most: int = 32
    depth: int = 512

    @property
    def state_numbers(self) -> int:
        """Numbers in a latent's token."""
        return 4 + self.signal_numbers + 3 * self.history

    @property
    def signal_numbers(self) -> int:
        """Numbers of it that are signals of the mini-batch."""
        slope, bend = "gradient" in self.signals or self.binds, "curvature" in self.signals
        return 5 if self.closed_form else 3 * slope + 2 * bend + (slope and bend)

    @property
    def answers(self) -> int:
        """Numbers that a latent's token answers: its move, log T, and how little a site is
        trusted.
        """
        return 3 if self.closed_form else 2

    @property
    def binds(self) -> bool:
        """Whether it learns how rows and latents are bound, since no gradient says so."""
        rows = "data" in self.signals and "gradient" not in self.signals
        return rows and not self.closed_form

    @property
    def pair_numbers(self) -> int:
        """Numbers for each pair of latents."""
        return (self.posterior == "full") + (3 if self.closed_form else "curvature" in self.signals)

    @property
    def edge_numbers(self) -> int:
        """Numbers for each latent and row: the row's gradient, where rows and gradients are
        seen, or `BINDINGS` learned ones.
        """
        if self.closed_form or "data" not in self.signals:
            return 0
        return BINDINGS if self.binds else 1


class Rows(NamedTuple):
    """How an update sees a mini-batch.

    Attributes:
        tokens: its rows as numbers (B, R).
        likelihood: the log likelihood of each as a function of the latents, which may know the
            state.
        correction: log prior less theta_0's log density, which a closed form takes with the first
            rows of all.
        slopes: the gradient of each row's log likelihood at the state, where there is a cheaper
            way to all of them than through `likelihood`.
        settle: of independent latents, the curvature that a mini-batch adds to each, known in
            closed form: the sds narrow by it before a step sees anything.
        lead: of a series, rows before a part of a mini-batch that the part's densities look back
            at; None where all may matter.
    """

    tokens: Callable[[Batch], Float[Array, "B R"]]
    likelihood: Callable[[Batch, Belief], Callable[[Array], Float[Array, " B"]]] | None
    correction: LogDensity | None = None
    slopes: Callable[[Batch, Belief], Float[Array, "B P"]] | None = None
    settle: Callable[[Batch], Float[Array, " P"]] | None = None
    lead: int | None = 0


def clipped(numbers: Array) -> Array:
    """Within +-FAR: what a network reads stays finite."""
    return jnp.clip(numbers, -FAR, FAR)


def without_diagonal(matrix: Float[Array, "P P"]) -> Float[Array, "P P"]:
    """A matrix with zeros on its diagonal."""
    return matrix - jnp.diag(jnp.diag(matrix))


def correlation(matrix: Float[Array, "P P"]) -> Float[Array, "P P"]:
    """The correlations of a covariance."""
    root = jnp.sqrt(jnp.diag(matrix))
    return matrix / (root[:, None] * root)
