"""Conditional rational-quadratic spline flow, for posteriors with several modes or sharp bends.

Durkan et al. 2019, "Neural Spline Flows", arXiv 1906.04032; the flow itself is flowjax's.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from flowjax.bijections import (
    AbstractBijection,
    Chain,
    Coupling,
    Flip,
    Invert,
    MaskedAutoregressive,
    RationalQuadraticSpline,
    Scan,
)
from flowjax.distributions import AbstractDistribution, StandardNormal, Transformed
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.autoregressive import invert
from amortppl.densities.density import Density
from amortppl.densities.gaussian import log_normal

FEW = 3
"""Most latents for which layers are autoregressive; beyond, they are coupling layers.

Draws of the former take a pass for each latent, those of the latter one, and as many updates bring
both as far. Held-out nats of 10 and 11 latents, coupling for autoregressive: gaussian_process -8.97
for -8.96, mixture_2d -6.34 for -6.44, standard errors 0.07 and 0.13. Calibration, nearly all of it
draws, took 23 and 21 CPU s for 150 and 160.
"""


class SplineFlow(Density):
    """A spline flow whose networks read the coefficients beside the latents.

    Its layers are masked autoregressive for at most `FEW` latents, else coupling layers.

    >>> import jax
    >>> SplineFlow(2, jax.random.key(0), context=5).coefficients
    5

    Attributes:
        flow: flowjax's distribution, conditional on the coefficients.
    """

    size: int = eqx.field(static=True)
    coefficients: int = eqx.field(static=True)
    flow: AbstractDistribution

    def __init__(self, size: int, key: PRNGKeyArray, *, knots: int = 8, context: int = 16) -> None:
        self.size, self.coefficients = size, context
        layers = 5 if size <= FEW else 8

        def layer(key: PRNGKeyArray) -> Chain:
            spline = RationalQuadraticSpline(knots=knots, interval=5.0)
            # flowjax's own random permutation cannot be made inside jit.
            return Chain([_layer(key, spline, size, context), Flip((size,))])

        # flowjax keeps the spline's initial values in a closure, so they must not be traced.
        with jax.ensure_compile_time_eval():
            stacked = eqx.filter_vmap(layer)(jr.split(key, layers))
        self.flow = Transformed(StandardNormal((size,)), Invert(Scan(stacked)))

    def log_prob(self, z: Float[Array, " P"], coefficients: Float[Array, " K"]) -> Array:
        """Log density of one point."""
        return self.flow.log_prob(z, condition=coefficients)

    def sample(
        self, key: PRNGKeyArray, coefficients: Float[Array, " K"], draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Draws and their log densities."""
        if self.size > FEW:
            z, log_prob = self.flow.sample_and_log_prob(key, (draws,), condition=coefficients)
            return z, jnp.reshape(log_prob, (draws,))
        u = jr.normal(key, (draws, self.size))
        return jax.vmap(lambda u: self._draw(u, coefficients))(u)

    def _draw(
        self, u: Float[Array, " P"], coefficients: Float[Array, " K"]
    ) -> tuple[Float[Array, " P"], Array]:
        """The point that u is mapped to by autoregressive layers, and its log density."""
        layers: Any = self.flow.bijection
        arrays, rest = eqx.partition(layers.bijection.bijection, eqx.is_array)

        def through(carry: tuple[Array, Array], own: Any) -> tuple[tuple[Array, Array], None]:
            z, log_density = carry
            layer, _ = eqx.combine(own, rest).bijections
            z, log_det = invert(layer, z[::-1], coefficients)
            return (z, log_density - log_det), None

        return jax.lax.scan(through, (u, log_normal(u)), arrays, reverse=True)[0]


def _layer(
    key: PRNGKeyArray, spline: RationalQuadraticSpline, size: int, context: int
) -> AbstractBijection:
    shared = {
        "transformer": spline,
        "dim": size,
        "cond_dim": context,
        "nn_width": 64,
        "nn_depth": 2,
    }
    if size <= FEW:
        layer = MaskedAutoregressive(key, **shared)
        return _identity(layer, lambda own: own.masked_autoregressive_mlp.layers[-1])
    layer = Coupling(key, untransformed_dim=size // 2, **shared)
    return _identity(layer, lambda own: own.conditioner.layers[-1])


def _identity(layer: AbstractBijection, last: Callable[[Any], eqx.nn.Linear]) -> AbstractBijection:
    """The layer with zeros in its network's last one, which leave a point where it is."""
    zero = lambda a: jnp.zeros_like(a) if eqx.is_inexact_array(a) else a  # noqa: E731
    return eqx.tree_at(last, layer, replace_fn=lambda own: jax.tree.map(zero, own))
