"""The mode of some latents given others, by Newton's method."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from amortppl.gaussian.frame import clip_norm

STEPS, LONGEST, NEAR = 5, 8.0, 0.03
"""Most Newton steps of u for each h, their greatest length in prior sds (of many latents, one for
each on average), and how near the mode is near enough, in sds of u given h: weights make up for it.
"""


class Climb(NamedTuple):
    """Where Newton's method is, -Hessian one step before, the square of the next step
    in sds, and how many steps were made."""

    at: Array
    precision: Any
    remains: Array
    steps: Array


def conditional_mode(
    density: Callable[[Array], Array],
    start: Array,
    differentiate: Callable[[Array], tuple[Array, Any]],
    nowhere: Any,
    steps: int = STEPS,
) -> tuple[Array, Any]:
    """The mode of a log density in prior units by Newton's method, and -Hessian near it.

    A step ends the climb where the next one, by the same curvature, would be shorter than `NEAR`
    conditional sds: the gradient costs little beside the Hessian, of which a Gaussian needs one.

    Args:
        density: of u.
        start: u.
        differentiate: gives the gradient and -Hessian, which has `solve`.
        nowhere: a matrix of that kind.
        steps: the most.
    """

    longest = max(LONGEST, len(start) ** 0.5)

    def is_far(climb: Climb) -> Array:
        return (climb.steps == 0) | ((climb.remains > NEAR**2) & (climb.steps < steps))

    def climb(last: Climb) -> Climb:
        gradient, precision = differentiate(last.at)
        at = last.at + clip_norm(precision.solve(gradient), longest)
        after = jnp.nan_to_num(jax.grad(density)(at))
        return Climb(at, precision, after @ precision.solve(after), last.steps + 1)

    begin = Climb(start, nowhere, jnp.zeros((), start.dtype), jnp.zeros((), int))
    last = jax.lax.while_loop(is_far, climb, begin)
    return last.at, last.precision
