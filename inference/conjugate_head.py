"""Explicit regime: learned features with a conjugate Bayesian linear head (ALPaCA).

    y_c = phi(x)' w_c + e,    w_c ~ N(k_c, diag(lambda)^-1),    e ~ N(0, s^2),    s on a learned
    grid

Given s the posterior of w is Gaussian, and s has a posterior over its grid; both follow from
sums over rows, so the state adds up over mini-batches in closed form. With one scale the predictive
is Gaussian; with several it is a scale mixture, as a Student-t is.

Harrison, Sharma and Pavone 2018, "Meta-learning priors for efficient online Bayesian regression",
arXiv 1807.08912. Where a row observes a class, the head is `amortppl.predictive.gaussian_classes`:
the features of each class are Gaussian, with a conjugate prior on their mean.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import ModelError
from amortppl.networks.least_squares import Moments, solve
from amortppl.networks.mlp import mlp
from amortppl.predictive.class_sums import one_class
from amortppl.predictive.gaussian_classes import GaussianClasses, gaussian_classes
from amortppl.predictive.predictor import Like, Predictor, like
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.predictive.row_features import features
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

LENGTH = 8.0
"""Of an image's features to begin with, in sds of a row's."""

PACE = 10.0
"""How many times as fast as other weights log precisions are learned: those of features of no use
must grow by
factors of thousands (linear regression, 20 rows, 120 CPU s: 0.037 nats from the exact predictive
without it)."""


class ScaleMixture(eqx.Module):
    """Gaussians of J noise scales for each component of Q queries; components are independent."""

    reader: Reader
    log_weights: Float[Array, "J C"]
    mean: Float[Array, "J Q C"]
    sd: Float[Array, "J Q C"]
    like: Like = eqx.field(static=True)

    def log_prob(self, data: dict[str, Array]) -> Float[Array, " Q"]:
        """Log density of the observations of each query."""
        each = norm.logpdf(self.reader.standard(data), self.mean, self.sd)
        mixed = logsumexp(each + self.log_weights[:, None], 0)
        return jnp.sum(mixed + self.reader.log_slope(data), -1)

    def sample(self, key: PRNGKeyArray, draws: int) -> dict[str, Array]:
        """Draws of the observations by argument, each (draws, Q, ...)."""

        def one(key: PRNGKeyArray) -> dict[str, Array]:
            pick = jr.categorical(jr.fold_in(key, 0), self.log_weights, 0)
            mean, sd = (
                jnp.take_along_axis(a, pick[None, None], 0)[0] for a in (self.mean, self.sd)
            )
            return self.reader.values(
                mean + sd * jr.normal(jr.fold_in(key, 1), mean.shape), self.like
            )

        return jax.vmap(one)(jr.split(key, draws))


class Weights(NamedTuple):
    """Posterior of the head at its most probable noise scale: means, and a factor of the
    precision.
    """

    mean: Float[Array, "F C"]
    factor: Float[Array, "F F"]

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S Z"], Float[Array, " S"]]:
        """Draws of all weights, flat, and their log densities."""
        noise = jr.normal(key, (draws, *self.mean.shape))
        away = jax.vmap(
            lambda e: jax.scipy.linalg.solve_triangular(self.factor, e, lower=True, trans=1)
        )(noise)
        log_scale = self.mean.shape[1] * jnp.sum(jnp.log(jnp.diag(self.factor)))
        return (self.mean + away).reshape(draws, -1), log_scale + jnp.sum(
            norm.logpdf(noise), (1, 2)
        )


class ConjugatePredictor(Predictor):
    """The built method. See `ConjugateHead` for its options.

    Attributes:
        bend: the learned features.
        centre: k.
        slow_precision: log lambda / PACE.
        log_noise, noise_logits: the grid of s, and the log prior of each.
    """

    task: AbstractTask = eqx.field(static=True)
    reader: Reader
    bend: eqx.nn.MLP
    centre: Float[Array, "F C"]
    slow_precision: Float[Array, " F"]
    log_noise: Float[Array, " J"]
    noise_logits: Float[Array, "J C"]
    regime: ClassVar[str] = "explicit"

    def init(self) -> Moments:
        """No rows: the learned prior."""
        return Moments.none(*self.centre.shape)

    def step(self, state: Moments, batch: Batch) -> Moments:
        """Rows' products added. Values are what the prior's mean leaves, which spares digits."""
        phi = self._features(batch.data)
        return state.plus(phi, self.reader.standard(batch.data) - phi @ self.centre, batch.mask)

    def combine(self, states: Any) -> Moments:
        """Products of disjoint rows add up."""
        return jax.tree.map(lambda *a: sum(a), *states)

    def latent(self, state: Moments) -> Weights:
        """The posterior over the head's weights, at the most probable noise scale of all components
        together.
        """
        fits, log_weights = self._fits(state)
        best = jnp.argmax(jnp.sum(log_weights, 1))
        return Weights(self.centre + fits.weights[best], fits.factor[best])

    def predictive(self, state: Moments, query: dict[str, Array]) -> ScaleMixture:
        """The mixture over noise scales of Gaussians in closed form."""
        phi = self._features(query)
        fits, log_weights = self._fits(state)
        shift, leverage = jax.vmap(lambda fit: fit.read(phi))(fits)
        variance = jnp.exp(2 * self.log_noise)[:, None] + leverage
        sd = jnp.broadcast_to(jnp.sqrt(variance)[:, :, None], shift.shape)
        return ScaleMixture(
            self.reader, log_weights, phi @ self.centre + shift, sd, like(self.task.rows_like)
        )

    def _features(self, data: dict[str, Array]) -> Float[Array, "N F"]:
        line = self.reader.linear(data)
        one = jnp.ones((line.shape[0], 1))
        return jnp.concatenate([one, line, jax.vmap(self.bend)(self.reader.x(data))], -1)

    def _fits(self, state: Moments) -> tuple[Any, Float[Array, "J C"]]:
        """For each noise scale the posterior of the weights, and the log posterior of the scale."""
        precision = jnp.exp(jnp.clip(PACE * self.slow_precision, -10.0, 10.0))

        def one(log_noise: Array, logits: Array) -> tuple[Any, Array]:
            share = jnp.exp(-2 * log_noise)
            seen = Moments(
                share * state.keys, share * state.cross, share * state.square, state.rows
            )
            fit = solve(seen, precision)
            misfit = fit.spread * jnp.maximum(state.rows, 1.0)
            shrink = jnp.sum(jnp.log(jnp.diag(fit.factor))) - 0.5 * jnp.sum(jnp.log(precision))
            return fit, logits - state.rows * log_noise - 0.5 * misfit - shrink

        fits, heights = jax.vmap(one)(self.log_noise, self.noise_logits)
        return fits, jax.nn.log_softmax(heights, 0)


@dataclass(frozen=True)
class ConjugateHead:
    """Options.

    Attributes:
        features: learned features; of a regression, beside one and the inputs themselves.
        hidden: width of the network that makes them.
        scales: noise scales of a regression, by default 0.16 apart in log s; 1 for a Gaussian
            predictive.
        image: height and width of the input, where it is an image to be classified.
    """

    features: int = 24
    hidden: int = 64
    scales: int = 32
    image: tuple[int, int] | None = None

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults; mini-batches change nothing, because states add up."""
        return {"steps": 2000, "batch": 64}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> ConjugatePredictor | GaussianClasses:
        """Draws the weights for a task.

        Raises:
            ModelError: observations are discrete, and not one class of finitely many.
        """
        keys = jr.split(key, 2)
        read = reader(task, keys[0])
        if one_class(read):
            phi = features(read, self.features, self.hidden, self.image, keys[1], LENGTH)
            return gaussian_classes(task, read, phi)
        if self.image is not None:
            raise ModelError(
                f"conjugate_head: `image` is for classes, and {task.name} observes none; leave it "
                f"out"
            )
        if wrong := [c.argument for c in read.parts if c.discrete]:
            raise ModelError(
                f"conjugate_head: {wrong[0]!r} of {task.name} is discrete, and the head needs "
                f"continuous "
                "observations, or one class; 'in_context', 'neural_process' and 'parametric' serve "
                "it"
            )
        size = 1 + read.x_centre.shape[0] + self.features
        ends = (-4.6, 0.5) if self.scales > 1 else (-1.0, -1.0)
        return ConjugatePredictor(
            task=task, reader=read, bend=mlp(read.x_size, self.features, self.hidden, 2, keys[1]),
            centre=jnp.zeros((size, len(read.parts))), slow_precision=jnp.zeros(size),
            log_noise=jnp.linspace(*ends, self.scales), noise_logits=jnp.zeros((self.scales, len(read.parts))),
        )  # fmt: skip


METHOD = ConjugateHead
