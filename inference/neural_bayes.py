"""Neural Bayes estimators: quantiles of every latent's marginal posterior, from the data alone.

    min over phi   E_(theta, D)  sum_p sum_u  rho_u(theta_p - q_p,u(D))
    rho_u(e) = e (u - 1[e < 0])

whose minimum are the posterior quantiles at the levels u (Koenker and Bassett 1978, "Regression
quantiles", Econometrica 46); at u = 1/2 it is the point estimator of least absolute error.
Sainsbury-Dale, Zammit-Mangion and Huser 2024, "Likelihood-free parameter estimation with neural
Bayes estimators", arXiv 2208.12942; surveyed by Zammit-Mangion, Sainsbury-Dale and Huser 2025,
"Neural methods for amortized inference", arXiv 2404.12484.

Draws invert the quantile function, linear between levels with exponential tails. They have the
marginal posteriors; between latents they are independent, whatever the posterior is.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.method import Target
from amortppl.networks import Encoder
from amortppl.networks.mlp import mlp
from amortppl.predictive.encoded_rows import EncodedRows, Seen, encoder_of
from amortppl.task.abstract import AbstractTask
from amortppl.task.scaling import PriorScale, RowScaler, simulated_scales

LEAST = 1e-3
"""Least distance of neighbouring quantiles, in prior units."""


class Marginals(eqx.Module):
    """Independent distributions of P latents by their quantiles.

    Attributes:
        scale: of the latents' unconstrained vector.
        levels: U of them, rising.
        quantiles: in prior units, (P, U).
    """

    scale: PriorScale
    levels: Float[Array, " U"]
    quantiles: Float[Array, "P U"]

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Independent draws (S, P) and their log densities (S,)."""
        level = jr.uniform(key, (draws, len(self.quantiles)), minval=1e-6, maxval=1 - 1e-6)
        values = jax.vmap(lambda u: jax.vmap(self._quantile)(self.quantiles, u))(level)
        vectors = self.scale.restore(values)
        return vectors, jax.vmap(self.log_prob)(vectors)

    def log_prob(self, vector: Float[Array, " P"]) -> Array:
        """Log density of one unconstrained vector."""
        values = self.scale.standardize(vector)
        each = jax.vmap(self._log_density)(self.quantiles, values)
        return jnp.sum(each - jnp.log(self.scale.scale))

    def _quantile(self, own: Float[Array, " U"], level: Array) -> Array:
        first, last = self.levels[0], 1 - self.levels[-1]
        rates = self._tail_scales(own)
        below = own[0] + rates[0] * jnp.log(jnp.minimum(level / first, 1.0))
        above = own[-1] - rates[1] * jnp.log(jnp.minimum((1 - level) / last, 1.0))
        inside = jnp.interp(level, self.levels, own)
        return jnp.where(level < first, below, jnp.where(level > self.levels[-1], above, inside))

    def _log_density(self, own: Float[Array, " U"], value: Array) -> Array:
        first, last = self.levels[0], 1 - self.levels[-1]
        low, high = self._tail_scales(own)
        place = jnp.clip(jnp.searchsorted(own, value) - 1, 0, len(own) - 2)
        slope = (self.levels[place + 1] - self.levels[place]) / (own[place + 1] - own[place])
        below = jnp.log(first / low) + jnp.minimum(value - own[0], 0.0) / low
        above = jnp.log(last / high) - jnp.maximum(value - own[-1], 0.0) / high
        return jnp.where(value < own[0], below, jnp.where(value > own[-1], above, jnp.log(slope)))

    def _tail_scales(self, own: Float[Array, " U"]) -> tuple[Array, Array]:
        """Scales of the exponential tails, whose densities go on from the outermost pieces."""
        ends = self.levels[0], 1 - self.levels[-1]
        pieces = jnp.diff(own) / jnp.diff(self.levels)
        return ends[0] * pieces[0], ends[1] * pieces[-1]


class NeuralBayesGuide(EncodedRows):
    """The built method. See `NeuralBayes` for its options."""

    task: AbstractTask = eqx.field(static=True)
    scale: PriorScale
    rows: RowScaler
    encode: Encoder
    head: eqx.nn.MLP
    levels: tuple[float, ...] = eqx.field(static=True)
    regime: ClassVar[str] = "parametric"

    def readout(self, state: Seen) -> Marginals:
        """The marginal posteriors."""
        numbers = self.head(self.summary(state)).reshape(-1, len(self.levels))
        quantiles = jax.vmap(rising)(numbers)
        return Marginals(stop_gradient(self.scale), jnp.array(self.levels), quantiles)

    def score(self, state: Seen, target: Target) -> Array:
        """The mean loss over levels, summed over latents, in prior units."""
        read = self.readout(state)
        miss = read.scale.standardize(target.latents)[:, None] - read.quantiles
        return jnp.sum(jnp.mean(miss * (read.levels - (miss < 0)), 1))


def rising(numbers: Float[Array, " U"]) -> Float[Array, " U"]:
    """Any numbers as rising ones: the middle one, and positive steps from it both ways."""
    middle = len(numbers) // 2
    steps = jax.nn.softplus(numbers) + LEAST
    above = jnp.cumsum(steps[middle + 1 :])
    below = -jnp.cumsum(steps[:middle][::-1])[::-1]
    return numbers[middle] + jnp.concatenate([below, jnp.zeros(1), above])


@dataclass(frozen=True)
class NeuralBayes:
    """Options of the neural Bayes estimators.

    Attributes:
        levels: of the quantiles, rising, with 1/2 in the middle; (0.5,) is refused, as a point is
            no posterior.
        encoder: of the rows, as of `parametric`.
        width: numbers in the encoded dataset.
        hidden: width of the network on top.
    """

    levels: tuple[float, ...] = (
        *(0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
        0.5,
        *(0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99),
    )
    encoder: Any = "deep_set"
    width: int = 32
    hidden: int = 128

    def __post_init__(self) -> None:
        levels, middle = self.levels, len(self.levels) // 2
        sorted_inside = all(0 < a < b < 1 for a, b in pairwise(levels))
        if len(levels) < 3 or not sorted_inside or levels[middle] != 0.5:
            raise LookupError(
                "levels: expected at least three rising numbers between 0 and 1 with 0.5 in the "
                f"middle, got {levels!r}"
            )

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 6000, "batch": 64}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> NeuralBayesGuide:
        """Draws the weights for a task; before training the quantiles are about the prior's.

        Raises:
            ModelError: the task has no latents.
        """
        keys = jr.split(key, 3)
        scale, rows = simulated_scales(task, keys[0])
        encode = encoder_of(task, self.encoder, rows, self.width, keys[1])
        normal = norm.ppf(jnp.array(self.levels))
        steps = jnp.log(jnp.expm1(jnp.diff(normal)))
        middle = len(self.levels) // 2
        one = jnp.concatenate([steps[:middle], jnp.zeros(1), steps[middle:]])
        start = jnp.tile(one, task.latents.size)
        head = mlp(encode.size + 1, start.size, self.hidden, 2, keys[2], start=start)
        return NeuralBayesGuide(
            task=task,
            scale=scale,
            rows=rows,
            encode=encode,
            head=head,
            levels=tuple(float(u) for u in np.asarray(self.levels)),
        )


METHOD = NeuralBayes
