"""Fits a funnel to modes and widths at a centre and at the cubature points around it."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import REACH
from amortppl.gaussian.funnel import WIDEST, Funnel, linear, parts

SHARPEST = 0.96
"""Largest tanh of half the exponent's change within `REACH`."""

SLIGHT = 0.001
"""Least relative difference of the precisions ahead and behind for a width that varies.

Below it the width is constant. For an effect without data the two differ by rounding, which
e^{r t} would turn into hundreds of prior sds a few sds further out.
"""

AT_MOST = 3.0
"""Largest width of effects themselves, in prior sds, where their scale is large.

That of standardized effects is one prior sd.
"""

NEARER, RIDGE = 0.2, 1e-6
"""When the mode has the second form of `Funnel`, and what keeps its normal equations regular.

The second form is taken where its squared residuals are less than this share of the first's. The
ridge is relative to the mean of the diagonal: an axis along which nothing varies has none.
"""


def fit_funnel(
    centre: Float[Array, " G"],
    axes: Float[Array, "G G"],
    modes: tuple[Float[Array, " L"], Float[Array, "K L"]],
    mode_gradients: tuple[Float[Array, "L G"], Float[Array, "K L G"]],
    widths: tuple[Float[Array, " L"], Float[Array, "K L"]],
    plated: tuple[bool, ...],
) -> Funnel:
    """The funnel with given modes and widths at the centre and at K = 2G points around it.

    The points are at `REACH` ahead on each axis, then behind.

    Args:
        centre, axes: c and W.
        modes, mode_gradients: of d and their derivatives by t, at the centre and at the points.
        widths: log widths of d given g, at the centre and at the points, in prior units.
        plated: which latents are d.
    """
    beside = jnp.clip(jnp.nan_to_num(widths[1] - widths[0]), -WIDEST, WIDEST)
    precisions, variance = jnp.exp(-2.0 * beside), jnp.exp(2.0 * widths[0])
    one, two = (_exponential(precisions, 1.0 - variance / most**2) for most in (1.0, AT_MOST))
    at = REACH * jnp.concatenate([jnp.eye(len(centre)), -jnp.eye(len(centre))])
    missed, apart = _second_form(at, mode_gradients, *two)
    missed_by_first, curved = _first_form(at, modes, mode_gradients, *one)
    between = jnp.sum(missed**2, (0, 2)) < NEARER * jnp.sum(missed_by_first**2, (0, 2))
    share, rates = jnp.where(between, two[0], one[0]), jnp.where(between[:, None], two[1], one[1])
    ahead, behind = jnp.split(jnp.nan_to_num(jnp.where(between[:, None], missed, curved)), 2)
    curvature = jnp.moveaxis(ahead - behind, 0, 2) / (2.0 * REACH)
    curvature = (curvature + jnp.swapaxes(curvature, 1, 2)) / 2
    mode = modes[0], mode_gradients[0], curvature
    return Funnel(centre, axes, *mode, share, rates, between, jnp.nan_to_num(apart), plated)


def _first_form(
    at: Float[Array, "K G"],
    modes: tuple[Array, Array],
    mode_gradients: tuple[Array, Array],
    share: Array,
    rates: Array,
) -> tuple[Float[Array, "K L G"], Float[Array, "K L G"]]:
    """The first form's residual in the modes' gradients with K = 0, and n + K t at the points."""
    _, root, varying = parts(at, share, rates)
    slope, n = (0.5 - varying)[..., None] * rates, linear(modes[0], mode_gradients[0], share, rates)
    line = modes[0] + at @ n.T
    missed = mode_gradients[1] - jnp.exp(root)[..., None] * (slope * line[..., None] + n)
    return missed, jnp.exp(-root)[..., None] * (mode_gradients[1] - modes[1][..., None] * slope)


def _second_form(
    at: Float[Array, "K G"], mode_gradients: tuple[Array, Array], share: Array, rates: Array
) -> tuple[Float[Array, "K L G"], Float[Array, "L H"]]:
    """The second form's residual in the modes' gradients with K = 0, and D_0 and D_1.

    Both D are fitted by least squares.
    """
    varying, size = parts(at, share, rates)[2], at.shape[1]
    rise = (varying * (1.0 - varying))[..., None] * rates
    of_first = rise - (share * (1.0 - share))[:, None] * rates
    others = (varying - share)[..., None, None] * jnp.eye(size)
    of_more = rise[..., None] * at[:, None, None] + others
    design = jnp.concatenate([of_first[..., None], of_more], -1)  # (K, L, G, H)
    target = mode_gradients[1] - mode_gradients[0]
    gram = jnp.einsum("klgh,klgi->lhi", design, design)
    moment = jnp.einsum("klgh,klg->lh", design, target)
    ridge = RIDGE * jnp.trace(gram, axis1=1, axis2=2) / (1 + size) + 1e-9
    regular = gram + ridge[:, None, None] * jnp.eye(1 + size)
    apart = jnp.linalg.solve(regular, moment[..., None])[..., 0]
    return target - jnp.einsum("klgh,lh->klg", design, apart), apart


def _exponential(
    precisions: Float[Array, "K L"], most_share: Float[Array, " L"]
) -> tuple[Float[Array, " L"], Float[Array, "L G"]]:
    """a and r of p(t) = 1 - a + a e^{r t} from the precisions ahead and behind on each axis.

    The fit is exact on the axis where the two differ most, and matches their difference on the
    others; r is zero where they differ by less than `SLIGHT`. Where data determine nearly all, the
    prior's part is lost in rounding, and widths would grow beyond the prior's: so a is held to
    `most_share`, or to a half.
    """
    ahead, behind = jnp.split(precisions, 2)
    apart, more = (ahead - behind).T, (ahead + behind - 2.0).T
    most = jnp.argmax(jnp.abs(apart), 1)[:, None]
    width, rise = (jnp.take_along_axis(a, most, 1)[:, 0] for a in (jnp.abs(apart) + 1e-9, more))
    sharpness = jnp.clip(rise / width, 0.05, SHARPEST)  # tanh(r REACH / 2)
    share = width * (1.0 - sharpness**2) / (4.0 * sharpness)
    share = jnp.minimum(share, jnp.maximum(most_share, 0.5))
    apart = jnp.where(width[:, None] > SLIGHT, apart, 0.0)
    return share, jnp.arcsinh(apart / (2.0 * share[:, None])) / REACH
