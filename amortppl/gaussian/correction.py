"""The learned part of a later step: what a Gaussian site misses."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from amortppl.densities.gaussian import lower_triangular
from amortppl.gaussian.summary import residual_size
from amortppl.gaussian.update import Site


def learned_correction(
    network: Callable[[Array], Array],
    seen: Float[Array, " E"],
    site: Site,
    skew: Float[Array, ""],
) -> tuple[Float[Array, " P"], Float[Array, "P P"]]:
    """A shift and a lower factor in the frame that the site made.

    Sites take all evidence as Gaussian; what they miss is as large as the evidence is new and as
    what is left is large, so the correction is held to both and fades as rows add up.

    Args:
        network: gives P + P (P + 1) / 2 numbers.
        seen: the mini-batch's encoded rows, and how many rows there were before and in it.
        site: the site of the mini-batch.
        skew: how far from Gaussian the posterior is, between 0 and 1.
    """
    update, size = site.update, site.update.shift.shape[0]
    shape = [update.factor[np.tril_indices(size)], site.earlier, update.left]
    parts = [seen, jnp.clip(update.shift, -5, 5), jnp.arcsinh(jnp.concatenate(shape))]
    out = stop_gradient(update.share * skew) * jnp.tanh(network(jnp.concatenate(parts)))
    factor = lower_triangular(out[size:], size)
    return out[:size], jnp.tril(factor, -1) + jnp.diag(jnp.exp(jnp.diag(factor)))


def correction_size(latents: int) -> tuple[int, int]:
    """How many numbers the network gets beside `seen`, and how many it gives."""
    entries = latents + latents * (latents + 1) // 2
    return entries + 2 * residual_size(latents), entries
