"""Conditional rational-quadratic spline flow, for posteriors with several modes or sharp bends.

Durkan et al. 2019, "Neural Spline Flows", arXiv 1906.04032; the flow itself is flowjax's.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from flowjax.bijections import Chain, Flip, Invert, MaskedAutoregressive, RationalQuadraticSpline, Scan
from flowjax.distributions import AbstractDistribution, StandardNormal, Transformed
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.density import Density


class SplineFlow(Density):
    """A masked autoregressive flow whose networks read the coefficients beside the latents."""

    size: int = eqx.field(static=True)
    coefficients: int = eqx.field(static=True)
    flow: AbstractDistribution

    def __init__(
        self, size: int, key: PRNGKeyArray, *, layers: int = 5, width: int = 64, knots: int = 8, context: int = 16
    ) -> None:
        self.size, self.coefficients = size, context

        def layer(key: PRNGKeyArray) -> Chain:
            spline = RationalQuadraticSpline(knots=knots, interval=5.0)
            made = MaskedAutoregressive(key, transformer=spline, dim=size, cond_dim=context, nn_width=width, nn_depth=2)
            return Chain([made, Flip((size,))])  # flowjax's own random permutation cannot be made inside jit

        with jax.ensure_compile_time_eval():  # flowjax keeps the spline's initial values in a closure
            stacked = eqx.filter_vmap(layer)(jr.split(key, layers))
        self.flow = Transformed(StandardNormal((size,)), Invert(Scan(stacked)))

    def log_prob(self, z: Float[Array, " P"], coefficients: Float[Array, " K"]) -> Array:
        """Log density of one point."""
        return self.flow.log_prob(z, condition=coefficients)

    def sample(
        self, key: PRNGKeyArray, coefficients: Float[Array, " K"], draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Draws and their log densities."""
        z, log_prob = self.flow.sample_and_log_prob(key, (draws,), condition=coefficients)
        return z, jnp.reshape(log_prob, (draws,))
