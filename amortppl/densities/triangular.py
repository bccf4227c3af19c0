"""A triangular flow whose coefficients are emitted once per dataset.

A Knothe-Rosenblatt map: coordinate j is, given the ones before it, a sinh-arcsinh
transform of a normal with its own location and scale. Jones and Pewsey 2009, "Sinh-arcsinh
distributions"; Marzouk et al. 2016, "Sampling via measure transport".
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.density import Density
from amortppl.densities.gaussian import affine, log_normal


class Triangular(Density):
    """u_j = sinh(b_j arcsinh(v_j) - a_j) is standard normal, where

        v_j = e^{s_j(z)} ( (T (z - shift))_j - q_j(z) ),
        s_j(z) = sum_{k<j} S_jk 4 tanh(z_k / 4),    q_j(z) = sum_{k<j} Q_jk (sqrt(1 + z_k^2) - 1)

    T makes it correlated, a skewed, b heavy- or light-tailed, S lets one latent set the scale of
    another (a regression's noise and its weights), Q bends it.
    """

    size: int = eqx.field(static=True)
    coefficients: int = eqx.field(static=True)

    def __init__(self, size: int) -> None:
        self.size = size
        self.coefficients = 3 * size + size * (size + 1) // 2 + size * (size - 1)

    def _parts(self, coefficients: Float[Array, " K"]) -> tuple[Array, ...]:
        size, below = self.size, self.size * (self.size - 1) // 2
        first = size + size * (size + 1) // 2
        shift, factor = affine(coefficients[:first], size)
        skew, tail = coefficients[first : first + size], coefficients[first + size : first + 2 * size]
        rest = coefficients[first + 2 * size :]
        strict = jnp.tril_indices(size, -1)
        scale = jnp.zeros((size, size)).at[strict].set(rest[:below])
        bend = jnp.zeros((size, size)).at[strict].set(rest[below:])
        return shift, factor, 1.5 * jnp.tanh(skew), jnp.exp(0.7 * jnp.tanh(tail)), scale, bend

    def log_prob(self, z: Float[Array, " P"], coefficients: Float[Array, " K"]) -> Array:
        """Log density of one point, in one pass over its coordinates at once."""
        shift, factor, skew, tail, scale, bend = self._parts(coefficients)
        log_scale = _bounded(scale @ _bounded(z))
        v = jnp.exp(log_scale) * (factor @ (z - shift) - bend @ (jnp.sqrt(1.0 + z * z) - 1.0))
        u, log_slope = sinh_arcsinh(v, skew, tail)
        return log_normal(u) + jnp.sum(log_slope + log_scale + jnp.log(jnp.diag(factor)))

    def sample(
        self, key: PRNGKeyArray, coefficients: Float[Array, " K"], draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Draws coordinate after coordinate, all draws at once, and their log densities."""
        shift, factor, skew, tail, scale, bend = self._parts(coefficients)
        u = jr.normal(key, (self.size, draws))
        v = jnp.sinh((jnp.arcsinh(u) + skew[:, None]) / tail[:, None])
        past = jnp.tril(factor, -1)

        def place(
            carry: tuple[Array, Array, Array], j: Array
        ) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
            off, squashed, bent = carry
            log_scale = _bounded(scale[j] @ squashed)
            line = v[j] * jnp.exp(-log_scale) + bend[j] @ bent - past[j] @ off
            z = shift[j] + line / factor[j, j]
            carry = (
                off.at[j].set(z - shift[j]),
                squashed.at[j].set(_bounded(z)),
                bent.at[j].set(jnp.sqrt(1.0 + z * z) - 1.0),
            )
            return carry, (z, log_scale)

        empty = jnp.zeros((self.size, draws))
        z, log_scale = jax.lax.scan(place, (empty, empty, empty), jnp.arange(self.size))[1]
        log_slope = jnp.log(tail)[:, None] + 0.5 * (jnp.log1p(u * u) - jnp.log1p(v * v))
        log_det = jnp.sum(log_slope + log_scale, 0) + jnp.sum(jnp.log(jnp.diag(factor)))
        return z.T, log_normal(u.T) + log_det


def _bounded(value: Array) -> Array:
    """The value, held within (-4, 4)."""
    return 4.0 * jnp.tanh(value / 4.0)


def sinh_arcsinh(v: Array, skew: Array, tail: Array) -> tuple[Array, Array]:
    """u = sinh(b arcsinh(v) - a) and log du/dv."""
    inner = tail * jnp.arcsinh(v) - skew
    return jnp.sinh(inner), jnp.log(tail) + jnp.log(jnp.cosh(inner)) - 0.5 * jnp.log1p(v * v)
