"""Neural ratio estimation: a classifier between latents of a dataset and latents of the prior.

    f_phi(theta, D)  ->  log p(theta | D) / p(theta)

The network is asked which of K latents made a dataset, or whether none did. With weight 1/2 on
none, and theta_1..K from the prior but for one that made D,

    p(k | theta_1..K, D) = exp f_k / (K + sum_j exp f_j),    p(none) = K / (K + sum_j exp f_j)

Miller, Weniger and Forré 2022, "Contrastive neural ratio estimation", arXiv 2210.06170 (NRE-C with
gamma = 1); Hermans, Begy and Louppe 2020, arXiv 1903.04057 (K = 1); Durkan, Murray and Papamakarios
2020, arXiv 2002.03712 (without none). The posterior p(theta) exp f is drawn from by NUTS.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.lax import bitcast_convert_type, stop_gradient
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.unnormalized import Unnormalized
from amortppl.method import Target
from amortppl.networks import Encoder
from amortppl.networks.mlp import mlp
from amortppl.predictive.encoded_rows import EncodedRows, Seen, encoder_of
from amortppl.predictive.prior_density import LatentPrior, latent_prior
from amortppl.predictive.scaled_posterior import ScaledPosterior
from amortppl.task.abstract import AbstractTask
from amortppl.task.scaling import PriorScale, RowScaler, simulated_scales

OTHERS = 2048
"""Latents of the prior that contrasts are picked from."""


class NeuralRatioGuide(EncodedRows):
    """The built method. See `NeuralRatio` for its options."""

    task: AbstractTask = eqx.field(static=True)
    scale: PriorScale
    rows: RowScaler
    encode: Encoder
    ratio: eqx.nn.MLP
    prior: LatentPrior
    others: Float[Array, "N P"]
    contrasts: int = eqx.field(static=True)
    search: tuple[int, int, int] = eqx.field(static=True)
    regime: ClassVar[str] = "parametric"
    quick: ClassVar[bool] = False

    def readout(self, state: Seen) -> ScaledPosterior:
        """The posterior, up to a constant."""
        height = eqx.Partial(self._height, self.summary(state))
        found = Unnormalized(height, self.task.latents.size, *self.search)
        return ScaledPosterior(stop_gradient(self.scale), found)

    def score(self, state: Seen, target: Target) -> Array:
        """Minus the mean log probability of the right class, with a contrast and with none."""
        seen, count = self.summary(state), self.contrasts
        own = stop_gradient(self.scale).standardize(target.latents)
        picked = self._contrasts(target.latents, 2 * count - 1)
        first = self._log_ratio(own, seen)
        rest = jax.vmap(lambda v: self._log_ratio(v, seen))(picked)
        level = jnp.log(float(count))
        right = first - logsumexp(jnp.concatenate([rest[: count - 1], jnp.stack([first, level])]))
        none = level - logsumexp(jnp.append(rest[count - 1 :], level))
        return self.prior.loss(target.latents) - 0.5 * (right + none)

    def _height(self, seen: Array, standard: Float[Array, " P"]) -> Array:
        return self._log_ratio(standard, seen) + self.prior(self.scale.restore(standard))

    def _log_ratio(self, standard: Float[Array, " P"], seen: Array) -> Array:
        return self.ratio(jnp.concatenate([standard, seen]))[0]

    def _contrasts(self, latents: Array, count: int) -> Float[Array, "C P"]:
        """Latents of the prior, others for every simulation and for every update of the weights."""
        weight = stop_gradient(self.ratio.layers[0].weight)
        bits = [jnp.sum(bitcast_convert_type(a, jnp.uint32)) for a in (latents, weight)]
        key = jr.fold_in(jr.fold_in(jr.key(0), bits[0]), bits[1])
        return stop_gradient(self.others)[jr.randint(key, (count,), 0, len(self.others))]


@dataclass(frozen=True)
class NeuralRatio:
    """Options of neural ratio estimation.

    Attributes:
        contrasts: K, at least 1.
        encoder: of the rows, as of `parametric`.
        width: numbers in the encoded dataset.
        hidden: width of the network of latents and encoded dataset.
        points: of importance sampling's last stage, which finds where the chains start.
        chains: of NUTS at most, one draw or more of each.
        warmup: steps of each chain before its first draw.
    """

    contrasts: int = 16
    encoder: Any = "deep_set"
    width: int = 32
    hidden: int = 128
    points: int = 8192
    chains: int = 64
    warmup: int = 50

    def __post_init__(self) -> None:
        if not isinstance(self.contrasts, int) or self.contrasts < 1:
            raise LookupError(f"contrasts: expected at least 1, got {self.contrasts!r}")

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 10_000, "batch": 64}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> NeuralRatioGuide:
        """Draws the weights for a task; before training the posterior is the prior.

        Raises:
            ModelError: the task has no latents.
        """
        keys = jr.split(key, 5)
        scale, rows = simulated_scales(task, keys[0])
        encode = encoder_of(task, self.encoder, rows, self.width, keys[1])
        seen = task.latents.size + encode.size + 1
        fewest = (task.rows or (1, 1))[0]
        others = jax.vmap(lambda k: task.learning(k, fewest).latents)(jr.split(keys[3], OTHERS))
        return NeuralRatioGuide(
            task=task,
            scale=scale,
            rows=rows,
            encode=encode,
            ratio=mlp(seen, 1, self.hidden, 3, keys[2], start=jnp.zeros(1)),
            prior=latent_prior(task, scale, keys[4]),
            others=scale.standardize(others),
            contrasts=self.contrasts,
            search=(self.points, self.chains, self.warmup),
        )


METHOD = NeuralRatio
