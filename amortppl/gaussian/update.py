"""A later mini-batch: its Gaussian site moves the frame, and a learned part corrects the site."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from amortppl.gaussian.filtering import SiteUpdate, apply_site, contraction, site_update
from amortppl.gaussian.frame import LogDensity, Precision
from amortppl.gaussian.state import State


class Site(NamedTuple):
    """What a learned correction may look at.

    Attributes:
        update: what the mini-batch did to the frame.
        earlier: what was not Gaussian before, as the new frame sees it.
    """

    update: SiteUpdate
    earlier: Float[Array, " R"]

    @property
    def left(self) -> Float[Array, " R"]:
        """What is not Gaussian now."""
        return self.earlier + self.update.left


Correction = Callable[[Site], tuple[Float[Array, " P"], Float[Array, "P P"]]]
"""A shift and a lower factor, in the frame that the site made."""


def update_state(
    before: State,
    after: State,
    likelihood: LogDensity,
    correction: Correction,
    information: Precision | None,
) -> State:
    """The state after a mini-batch that is not the first.

    Args:
        before: the state before it.
        after: the same with its rows counted and encoded.
        likelihood: its log likelihood, in prior units.
        correction: the learned part.
        information: its Fisher information where the Hessian is not used; then its third-order
            correction (`amortppl.gaussian.third_order`) is left out.
    """
    old = stop_gradient(before.frame)
    update = jax.tree.map(stop_gradient, site_update(likelihood, old, information))
    frame, low = apply_site(old, before.low, update.shift, update.factor)
    site = Site(update, contraction(old, frame) ** 3 * before.left)
    frame, low = apply_site(frame, low, *correction(site))
    displaced = before.displaced
    if information is None:
        away = frame.location - old.location + low - before.low
        displaced = displaced.after(away, before.rows)
        count = after.rows - before.rows
        frame, low, displaced = displaced.correct(
            likelihood, frame, low, after.rows, count, update.gains
        )
    steps = before.steps + 1.0
    surprise = before.surprise + (update.surprise - before.surprise) / steps
    return after._replace(
        frame=frame,
        low=low,
        left=site.left,
        surprise=surprise,
        steps=steps,
        displaced=displaced,
    )


def non_gaussian_share(left: Float[Array, " R"]) -> Float[Array, ""]:
    """How far from Gaussian: s / (1 + s), s the root mean square of the residual."""
    size = jnp.sqrt(jnp.mean(left**2))
    return size / (1.0 + size)
