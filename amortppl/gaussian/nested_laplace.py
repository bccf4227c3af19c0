"""The frame of a hierarchical model: latents in plates integrated out, then placed given the rest.

With theta = (g, d), d the latents in plates, the mode of the joint density says little of where its
mass lies: where d = (effect - location) / scale, the width of d falls with the scale, which the
mode does not see. So g is placed by its own marginal density, whose gradient is that of the
joint averaged over d (Fisher's identity),

    grad log p(g, D) = E_{d | g, D} grad_g log p(g, d, D),

over a Gaussian at the mode of d given g, at cubature points: exact where d is Gaussian given g.
Rue, Martino and Chopin 2009, "Approximate Bayesian inference for latent Gaussian models by using
integrated nested Laplace approximations", JRSS B 71; Louis 1982, "Finding the observed information
matrix when using the EM algorithm", JRSS B 44.
"""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import REACH
from amortppl.gaussian.frame import Frame, LogDensity, cholesky_of, lower_factor
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.funnel_fit import fit_funnel
from amortppl.gaussian.marginal_search import FLAT, Point, Surroundings, evaluate, search
from amortppl.gaussian.newton import FLOOR
from amortppl.gaussian.plates import Plates

EXACT = 0.02
"""Largest relative rounding error of a curvature that is used.

Beyond it curvature is taken from the heights of the points around. Differences between second
derivatives lose all digits in float32 where the noise is thousands of times smaller than what it
is added to; those of heights lose none.
"""


def nested_laplace(
    f: LogDensity, start: Float[Array, " P"], plates: Plates
) -> tuple[Frame, Funnel]:
    """The Laplace approximation of g's marginal and of d given g.

    Args:
        f: log joint density, in coordinates where the prior has unit scale.
        start: about its mode, if it has one: that of effects and their own scale may be where the
            scale is zero. So the search has other starts too (`marginal_search.search`).
        plates: which latents are d: some, not all.

    Returns:
        A funnel, in whose coordinates d does not vary with g, and a frame in these coordinates.
    """
    best, around = search(partial(evaluate, f, plates), *plates.split(start))
    values = _curvature(best, around)
    roots = jnp.sqrt(jnp.maximum(best.values, FLAT))
    axes, units = (best.vectors * roots).T, best.vectors / roots
    widths = -jnp.log(jnp.diag(best.factor)), -around.log_scales
    modes = best.d, around.modes
    gradients = best.mode_gradient @ units, around.mode_gradients @ units
    funnel = fit_funnel(best.g, axes, modes, gradients, widths, plates.plated)
    of_g, none = cholesky_of(values, best.vectors).T, jnp.zeros((len(best.g), len(best.d)))
    across = -best.factor.T @ best.mode_gradient
    rows = plates.join(across, best.factor.T), plates.join(of_g, none)
    return Frame(plates.join(best.g, best.d), lower_factor(jnp.concatenate(rows))), funnel


def _curvature(best: Point, around: Surroundings) -> Float[Array, " G"]:
    """Eigenvalues of the marginal's curvature, by second differences where rounding spoils them."""
    ahead, behind = jnp.split(around.heights, 2)
    differences = jnp.maximum((2.0 * best.height - ahead - behind) / REACH**2, FLOOR)
    scaled = jnp.maximum(best.values, FLAT) * differences
    spoiled = best.rounding > EXACT * best.values
    return jnp.maximum(jnp.where(spoiled, scaled, best.values), FLAT)
