"""The funnel through what is known at a place and at the cubature points around it: its rates, its
form, its bend.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import REACH
from amortppl.gaussian.funnel import WIDEST, Funnel, linear, parts

SHARPEST = 0.96
"""tanh of half of how far the exponent goes within `REACH`, at most."""

SLIGHT = 0.001
"""Where precisions ahead and behind differ by less, relative to that at the centre, the width is
constant: of an effect
without data they differ by rounding, which a few sds further out e^{r t} makes hundreds of prior
sds of."""

AT_MOST = 3.0
"""Widths of effects themselves are held to so many prior sds, where their scale is large; of
standardized ones to one.
"""

NEARER, RIDGE = 0.2, 1e-6
"""The mode has the second form (see `Funnel`) where that leaves less than so much of the squares of
what the first
leaves; and what is added to its normal equations, relative to their mean: an axis along which
nothing varies has none.
"""


def fit_funnel(
    centre: Float[Array, " G"],
    axes: Float[Array, "G G"],
    modes: tuple[Float[Array, " L"], Float[Array, "K L"]],
    moves: tuple[Float[Array, "L G"], Float[Array, "K L G"]],
    widths: tuple[Float[Array, " L"], Float[Array, "K L"]],
    plated: tuple[bool, ...],
) -> Funnel:
    """The funnel with that curve and those widths.

    Args:
        centre, axes: c and W.
        modes, moves: of d, and their derivatives by t: at the centre, and at `REACH` ahead and
            behind on each axis.
        widths: log widths of d given g, at the centre and there, in prior units.
    """
    beside = jnp.clip(jnp.nan_to_num(widths[1] - widths[0]), -WIDEST, WIDEST)
    precisions, variance = jnp.exp(-2.0 * beside), jnp.exp(2.0 * widths[0])
    one, two = (_exponential(precisions, 1.0 - variance / most**2) for most in (1.0, AT_MOST))
    at = REACH * jnp.concatenate([jnp.eye(len(centre)), -jnp.eye(len(centre))])
    missed, apart = _second(at, moves, *two)
    missed_by_first, curved = _first(at, modes, moves, *one)
    between = jnp.sum(missed**2, (0, 2)) < NEARER * jnp.sum(missed_by_first**2, (0, 2))
    share, rates = jnp.where(between, two[0], one[0]), jnp.where(between[:, None], two[1], one[1])
    ahead, behind = jnp.split(jnp.nan_to_num(jnp.where(between[:, None], missed, curved)), 2)
    bend = jnp.moveaxis(ahead - behind, 0, 2) / (2.0 * REACH)
    bend = (bend + jnp.swapaxes(bend, 1, 2)) / 2
    return Funnel(
        centre, axes, modes[0], moves[0], bend, share, rates, between, jnp.nan_to_num(apart), plated
    )


def _first(
    at: Float[Array, "K G"],
    modes: tuple[Array, Array],
    moves: tuple[Array, Array],
    share: Array,
    rates: Array,
) -> tuple[Float[Array, "K L G"], Float[Array, "K L G"]]:
    """Of the first form: what it leaves of the slopes at points where K is zero, and n + K t by
    them.
    """
    _, root, varying = parts(at, share, rates)
    slope, n = (0.5 - varying)[..., None] * rates, linear(modes[0], moves[0], share, rates)
    line = modes[0] + at @ n.T
    missed = moves[1] - jnp.exp(root)[..., None] * (slope * line[..., None] + n)
    return missed, jnp.exp(-root)[..., None] * (moves[1] - modes[1][..., None] * slope)


def _second(
    at: Float[Array, "K G"], moves: tuple[Array, Array], share: Array, rates: Array
) -> tuple[Float[Array, "K L G"], Float[Array, "L H"]]:
    """Of the second form: what it leaves of the slopes at points where K is zero, and D_0 and D_1
    by least squares.
    """
    varying, size = parts(at, share, rates)[2], at.shape[1]
    rise = (varying * (1.0 - varying))[..., None] * rates
    of_first = rise - (share * (1.0 - share))[:, None] * rates
    of_more = rise[..., None] * at[:, None, None] + (varying - share)[..., None, None] * jnp.eye(
        size
    )
    by, slopes = (
        jnp.concatenate([of_first[..., None], of_more], -1),
        moves[1] - moves[0],
    )  # (K, L, G, H)
    square, known = jnp.einsum("klgh,klgi->lhi", by, by), jnp.einsum("klgh,klg->lh", by, slopes)
    ridge = RIDGE * jnp.trace(square, axis1=1, axis2=2) / (1 + size) + 1e-9
    apart = jnp.linalg.solve(square + ridge[:, None, None] * jnp.eye(1 + size), known[..., None])[
        ..., 0
    ]
    return slopes - jnp.einsum("klgh,lh->klg", by, apart), apart


def _exponential(
    precisions: Float[Array, "K L"], most_share: Float[Array, " L"]
) -> tuple[Float[Array, " L"], Float[Array, "L G"]]:
    """a and r with 1 - a + a e^{r t} through the precisions ahead and behind on each axis: exactly
    on the one where
    they differ most, and in how much they differ on the others; r is zero where they differ by less
    than `SLIGHT`. Where data say nearly all, what the prior says is lost in rounding there, and
    widths would grow beyond its own: so a is held to `most_share`, or to a half."""
    ahead, behind = jnp.split(precisions, 2)
    apart, more = (ahead - behind).T, (ahead + behind - 2.0).T
    most = jnp.argmax(jnp.abs(apart), 1)[:, None]
    width, rise = (jnp.take_along_axis(a, most, 1)[:, 0] for a in (jnp.abs(apart) + 1e-9, more))
    bent = jnp.clip(rise / width, 0.05, SHARPEST)  # tanh(r REACH / 2)
    share = jnp.minimum(width * (1.0 - bent**2) / (4.0 * bent), jnp.maximum(most_share, 0.5))
    apart = jnp.where(width[:, None] > SLIGHT, apart, 0.0)
    return share, jnp.arcsinh(apart / (2.0 * share[:, None])) / REACH
