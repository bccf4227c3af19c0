"""The frame and funnel of a marginal's mode and what is around it, and the prior's part in them."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import REACH
from amortppl.gaussian.filtering import Natural
from amortppl.gaussian.frame import Frame, cholesky_of, lower_factor
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.funnel_fit import fit_funnel
from amortppl.gaussian.marginal_search import FLAT, Point, Surroundings, log_scales
from amortppl.gaussian.newton import FLOOR
from amortppl.gaussian.plates import Plates

EXACT = 0.02
"""Largest relative rounding error of a curvature that is used.

Beyond it curvature is taken from the heights of the points around. Differences between second
derivatives lose all digits in float32 where the noise is thousands of times smaller than what it
is added to; those of heights lose none.
"""


class Placed(NamedTuple):
    """A frame with its funnel, its residual, and the prior's part in it."""

    frame: Frame
    funnel: Funnel
    residual: Float[Array, " R"]
    prior: Natural


def place(plates: Plates, best: Point, around: Surroundings) -> tuple[Frame, Funnel]:
    """The frame and the funnel of a marginal's mode and what is around it."""
    values = _curvature(best, around)
    roots = jnp.sqrt(jnp.maximum(best.values, FLAT))
    axes, units = (best.vectors * roots).T, best.vectors / roots
    widths = -log_scales(plates, best), -around.log_scales
    modes = best.d, around.modes
    gradients = best.mode_gradient @ units, around.mode_gradients @ units
    funnel = fit_funnel(best.g, axes, modes, gradients, widths, plates.plated)
    factor = plates.dense(best.factor)
    of_g, none = cholesky_of(values, best.vectors).T, jnp.zeros((len(best.g), len(best.d)))
    across = -factor.T @ best.mode_gradient
    rows = plates.join(across, factor.T), plates.join(of_g, none.astype(of_g.dtype))
    return Frame(plates.join(best.g, best.d), lower_factor(jnp.concatenate(rows))), funnel


def natural(gradient: Array, curvature: Array, frame: Frame) -> Natural:
    """A factor's natural parameters from its whitened average gradient and curvature in a frame."""
    precision = frame.factor @ curvature @ frame.factor.T
    return Natural(frame.factor @ gradient + precision @ frame.location, precision)


def _curvature(best: Point, around: Surroundings) -> Float[Array, " G"]:
    """Eigenvalues of the marginal's curvature, by second differences where rounding spoils them."""
    ahead, behind = jnp.split(around.heights, 2)
    differences = jnp.maximum((2.0 * best.height - ahead - behind) / REACH**2, FLOOR)
    scaled = jnp.maximum(best.values, FLAT) * differences
    spoiled = best.rounding > EXACT * best.values
    return jnp.maximum(jnp.where(spoiled, scaled, best.values), FLAT)
