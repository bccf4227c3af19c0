"""Neural likelihood estimation: the density of a row given the latents, learned from simulations.

    min over phi   E_(theta, D)  -1/N sum_i  log q_phi(y_i | x_i, theta)

The posterior of a dataset, proportional to p(theta) prod_i q_phi(y_i | x_i, theta), is drawn from
by NUTS. Papamakarios, Sterratt and Murray 2019, "Sequential neural likelihood", arXiv 1805.07226,
here over all of the prior at once.

Rows are learned from one by one, so that a simulation of N rows teaches N times, and datasets may
have any number of rows. A dataset's first answer costs more than that of a posterior that is
learned as such. Numbers that are whole in all simulated rows get uniform noise in (-1/2, 1/2) while
training (Uria, Murray and Larochelle 2013, "RNADE", arXiv 1306.0186).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities import Density
from amortppl.densities.unnormalized import Unnormalized
from amortppl.errors import ModelError
from amortppl.method import Target
from amortppl.predictive.kept_rows import Kept, KeptRows
from amortppl.predictive.prior_density import LatentPrior, latent_prior
from amortppl.predictive.scaled_posterior import ScaledPosterior
from amortppl.task.abstract import AbstractTask
from amortppl.task.scaling import PriorScale, RowScaler, simulated_scales

LEARNED = 64
"""Rows of a simulation that an update learns from, at most: others for every update."""

PART = 32
"""Places of rows whose densities are evaluated together, and not at all where none holds a row."""


class NeuralLikelihoodGuide(KeptRows):
    """The built method. See `NeuralLikelihood` for its options."""

    task: AbstractTask = eqx.field(static=True)
    scale: PriorScale
    rows: RowScaler
    density: Density
    prior: LatentPrior
    noise: dict[str, Array]
    inputs: int = eqx.field(static=True)
    search: tuple[int, int, int] = eqx.field(static=True)
    regime: ClassVar[str] = "parametric"
    quick: ClassVar[bool] = False

    def readout(self, state: Kept) -> ScaledPosterior:
        """The posterior, up to a constant. NaN where rows came that there was no place for."""
        parts = _parts((*self._split(state.data), state.mask))
        height = eqx.Partial(self._height, parts, state.whole)
        found = Unnormalized(height, self.task.latents.size, *self.search)
        return ScaledPosterior(stop_gradient(self.scale), found)

    def score(self, state: Kept, target: Target) -> Array:
        """-log q(y | x, theta), in nats a row, and -log q(theta) where the prior is learned."""
        standard = stop_gradient(self.scale).standardize(target.latents)
        data, mask = self._some(state, target.latents)
        each = self._densities(standard, *self._split(self._noisy(data, target.latents)))
        mean = jnp.sum(jnp.where(mask, each, 0.0)) / jnp.maximum(jnp.sum(mask), 1)
        return self.prior.loss(target.latents) - mean

    def _some(self, state: Kept, latents: Array) -> tuple[dict[str, Array], Array]:
        """At most `LEARNED` of the rows with their mask, at random, so that means are unbiased."""
        if state.mask.shape[0] <= LEARNED:
            return state.data, state.mask
        weight = jax.tree.leaves(eqx.filter(self.density, eqx.is_inexact_array))[0]
        both = latents, stop_gradient(weight)
        bits = [jnp.sum(jax.lax.bitcast_convert_type(a, jnp.uint32)) for a in both]
        key = jr.fold_in(jr.fold_in(jr.key(1), bits[0]), bits[1])
        level = jnp.where(state.mask, jr.uniform(key, state.mask.shape), 2.0)
        picked = jnp.argsort(level)[:LEARNED]
        return {n: v[picked] for n, v in state.data.items()}, state.mask[picked]

    def _height(
        self, parts: tuple[Array, ...], whole: Array, standard: Float[Array, " P"]
    ) -> Array:
        """log p(theta) and the log likelihood of rows in parts."""

        def likelihood(x: Array, y: Array, mask: Array) -> Array:
            return jnp.sum(jnp.where(mask, self._densities(standard, x, y), 0.0))

        def add(total: Array, part: tuple[Array, ...]) -> tuple[Array, None]:
            none = lambda *_: jnp.zeros(())  # noqa: E731
            return total + jax.lax.cond(jnp.any(part[2]), likelihood, none, *part), None

        prior = self.prior(self.scale.restore(standard))
        return jnp.where(whole, jax.lax.scan(add, prior, parts)[0], jnp.nan)

    def _densities(self, standard: Array, x: Array, y: Array) -> Float[Array, " R"]:
        """log q(y_i | x_i, theta), y in scaled units."""
        return jax.vmap(lambda a, b: self.density.log_prob(b, jnp.append(standard, a)))(x, y)

    def _split(self, data: dict[str, Array]) -> tuple[Array, Array]:
        """Inputs and observations, scaled."""
        scaled = stop_gradient(self.rows)(data)
        return scaled[:, : self.inputs], scaled[:, self.inputs :]

    def _noisy(self, data: dict[str, Array], latents: Array) -> dict[str, Array]:
        """With noise on whole numbers, the same for the same simulation."""
        key = jr.fold_in(jr.key(0), jnp.sum(jax.lax.bitcast_convert_type(latents, jnp.uint32)))
        draw = lambda i, v: jr.uniform(jr.fold_in(key, i), v.shape, minval=-0.5, maxval=0.5)  # noqa: E731
        width = stop_gradient(self.noise)
        return data | {n: data[n] + w * draw(i, data[n]) for i, (n, w) in enumerate(width.items())}


@dataclass(frozen=True)
class NeuralLikelihood:
    """Options of neural likelihood estimation.

    Attributes:
        knots: of the splines of the flow over a row's observations; its networks read latents and
            inputs.
        points: of importance sampling's last stage, which finds where the chains start.
        chains: of NUTS at most, one draw or more of each.
        warmup: steps of each chain before its first draw.
    """

    knots: int = 8
    points: int = 8192
    chains: int = 64
    warmup: int = 50

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 6000, "batch": 64}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> NeuralLikelihoodGuide:
        """Draws the weights for a task.

        Raises:
            ModelError: no latents, or rows that are not independent given the latents.
        """
        if task.tied or task.ordered or task.grouping:
            raise ModelError(
                f"{task.name}: 'neural_likelihood' learns the density of one row, and the rows of "
                "this task depend on one another given the latents; give them as one block "
                "(rows=None), or train 'neural_ratio' or 'parametric'"
            )
        from amortppl.densities.spline_flow import SplineFlow

        keys = jr.split(key, 4)
        scale, rows = simulated_scales(task, keys[0])
        inputs = sum(int(np.prod(task.rows_like[n].shape[1:])) for n in task.inputs)
        context = task.latents.size + inputs
        flow = SplineFlow(rows.size - inputs, keys[1], knots=self.knots, context=context)
        prior, noise = latent_prior(task, scale, keys[2]), _whole_numbers(task, keys[3])
        search = self.points, self.chains, self.warmup
        return NeuralLikelihoodGuide(task, scale, rows, flow, prior, noise, inputs, search)


def _parts(rows: tuple[Array, ...]) -> tuple[Array, ...]:
    """Arrays of rows (R, ...) in K parts of at most `PART` rows, filled up with zeros."""
    count = len(rows[0])
    parts = -(-count // PART)
    size = -(-count // parts)
    more = parts * size - count
    filled = [jnp.concatenate([a, jnp.zeros((more, *a.shape[1:]), a.dtype)]) for a in rows]
    return tuple(a.reshape(parts, size, *a.shape[1:]) for a in filled)


def _whole_numbers(task: AbstractTask, key: PRNGKeyArray, tasks: int = 256) -> dict[str, Array]:
    """For each observation, 1 if it is a whole number in all simulated rows, else 0."""
    rows = (task.rows or (1, 1))[0]
    drawn = jax.vmap(lambda k: task.learning(k, rows).data)(jr.split(key, tasks))
    return {n: jnp.all(drawn[n] == jnp.round(drawn[n])).astype(jnp.float32) for n in task.observed}


METHOD = NeuralLikelihood
