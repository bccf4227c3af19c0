"""What a network sees of a Gaussian state, and how its corrections fade with the rows."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from amortppl.gaussian.state import State


def describe(
    state: State, encoded: Float[Array, " E"], most: float, frame: bool
) -> Float[Array, " F"]:
    """Encoded rows, their number, and (where there is a frame) its place and its residual.

    Args:
        state: in prior units.
        encoded: the rows, encoded.
        most: the largest number of rows trained on.
        frame: whether the state has a frame; without one the rows are all there is.
    """
    parts = [encoded, log_rows(state.rows, most)[None]]
    if frame:
        factor = state.frame.factor / jnp.sqrt(state.rows + 1.0)
        entries = jnp.arcsinh(factor[np.tril_indices(factor.shape[0])])
        parts += [jnp.clip(state.frame.location, -10, 10), entries, jnp.arcsinh(state.residual)]
    return jnp.concatenate(parts)


def summary_size(latents: int) -> int:
    """Numbers that `describe` gives beside the encoded rows and their number."""
    return latents + latents * (latents + 1) // 2 + residual_size(latents)


def residual_size(latents: int) -> int:
    """P + 2 P^2: whitened residual gradients at the centre and at 2 P cubature points."""
    return latents + 2 * latents * latents


def log_rows(rows: Array, most: float) -> Array:
    """log(1 + n) / 3 - 1, constant beyond the rows trained on."""
    return jnp.log1p(jnp.minimum(rows, most)) / 3.0 - 1.0


def fade(rows: Array, most: float) -> Array:
    """Share of what was learned: sqrt(most / n) beyond the rows trained on, the rate at which a
    posterior becomes Gaussian; `amortppl.densities.faded` has what takes its place.
    """
    return jnp.sqrt(jnp.minimum(1.0, most / (rows + 1e-6)))
