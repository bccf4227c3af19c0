"""A mini-batch's Gaussian site as a learned update takes it: as far as it is trusted.

Opper and Winther 1998, "A Bayesian approach to on-line learning" (the site); Minka 2004, "Power EP"
(its powers). The power is learned, because one Gaussian may be no answer at all where a posterior
has several modes.
"""

import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

from amortppl.gaussian.belief import Belief
from amortppl.gaussian.filtering import SiteUpdate, site_update
from amortppl.gaussian.update_inputs import Rows, clipped, correlation, without_diagonal
from amortppl.task.batch import Batch

GAIN = 0.1
"""What the network's answer is multiplied by where it corrects a site, which may need none: some
tens of updates at any rate then change little."""


def by_site(
    state: Belief, site: SiteUpdate, trust: Array, share: Array, fade: Array
) -> tuple[Belief, tuple[Array, Array]]:
    """The state moved by a power of a site, as much as it is trusted, and sizes of further moves.

    The site's precision W and linear term (I + W) z become a W and a (I + W) z. Where it is taken
    as it is, what is left to correct is of the size of a share and fades; where it is not, a step
    is as free as one without sites.
    """
    whole = site.factor @ site.factor.T
    factor = jnp.linalg.cholesky((1.0 - trust) * jnp.eye(len(whole)) + trust * whole)
    shift = cho_solve((factor, True), trust * (whole @ site.shift))
    moved = state.move(shift, jnp.log(jnp.diag(factor)), factor)
    faded = jnp.sqrt(jnp.minimum(1.0, fade))
    sizes = (
        trust * share * faded + (1.0 - trust) * jnp.sqrt(share),
        share * (trust * faded + 1.0 - trust),
    )
    return moved, sizes


def site_of(
    state: Belief, batch: Batch, rows: Rows, share: Array
) -> tuple[SiteUpdate, Float[Array, "P F"], Float[Array, "P P C"]]:
    """The mini-batch's Gaussian site, and what it is and leaves, of each latent and pair."""
    assert rows.likelihood is not None  # refused when a method is built
    each, frame = rows.likelihood(batch, state), stop_gradient(state.frame())
    first = state.rows == 0
    correction = rows.correction or (lambda _: jnp.zeros(()))

    def f(at: Float[Array, " P"]) -> Array:
        return jnp.sum(jnp.where(batch.mask, each(at), 0.0)) + jnp.where(first, correction(at), 0.0)

    site: SiteUpdate = stop_gradient(site_update(f, frame))
    size = state.location.shape[0]
    centre, ahead, behind = site.residual[:size], *site.residual[size:].reshape(2, size, size)
    log_t = jnp.log(jnp.diag(site.factor))
    root = jnp.sqrt(jnp.maximum(share, 1e-12))
    same = jnp.full(size, jnp.arcsinh(site.surprise))
    tokens = [
        site.shift / root,
        log_t / jnp.maximum(share, 1e-12),
        jnp.arcsinh(centre / root),
        same,
    ]
    tokens.append(jnp.arcsinh((jnp.diag(ahead) + jnp.diag(behind)) / root))
    pairs = [without_diagonal(correlation(state.spread @ state.spread.T))]
    pairs += [clipped(site.factor - jnp.diag(jnp.diag(site.factor)))]
    pairs += [jnp.arcsinh((ahead + behind) / root), jnp.arcsinh((ahead - behind) / root)]
    pairs = stop_gradient(jnp.stack(pairs, -1))
    return site, stop_gradient(clipped(jnp.stack(tokens, -1))), pairs
