"""Neural processes: a task latent z, refined by rows, and a learned decoder p(y* | x*, z)."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.networks.least_squares import Moments
from amortppl.networks.mlp import mlp
from amortppl.predictive.head import Head
from amortppl.predictive.predictor import Headed
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.predictive.task_latent import Factors, TaskLatent
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

LEARNING, READING = 16, 64
"""Draws of z in a training score, and in a prediction."""


class NeuralProcess(Headed):
    """A latent (`stochastic`) or conditional neural process.

    The decoder sees x, z, and x's own directions times z. A latent process averages its predictive
    over z; a conditional one sees z's mean and sds and predicts each query by itself.
    """

    task: AbstractTask = eqx.field(static=True)
    stochastic: bool = eqx.field(static=True)
    reader: Reader
    factors: Factors
    along: eqx.nn.Linear
    bend: eqx.nn.MLP
    head: Head
    regime: ClassVar[str] = "explicit"

    def init(self) -> Moments:
        """The prior over z."""
        return self.factors.none()

    def step(self, state: Moments, batch: Batch) -> Moments:
        """Rows' factors added."""
        return self.factors.add(state, self.reader, batch)

    def combine(self, states: Any) -> Moments:
        """Factors of disjoint rows add up."""
        return jax.tree.map(lambda *a: sum(a), *states)

    def latent(self, state: Moments) -> TaskLatent:
        """The posterior over z."""
        return self.factors.posterior(state)

    def features(self, state: Moments, query: dict[str, Array]) -> Float[Array, "S Q E"]:
        """Decoder features under the mean of z, or under each of a fixed set of draws."""
        return self._decoded(state, query, jr.normal(jr.key(0), (READING, self.factors.size)))

    def loss(self, state: Moments, query: dict[str, Array]) -> Array:
        """-log p of all queries a query: jointly where z is stochastic (Foong et al. 2020, arXiv
        2007.01332).

        The draws' noise comes from the queries, so that it differs from task to task.
        """
        if not self.stochastic:
            return super().loss(state, query)
        seed = sum(jnp.sum(a.astype(jnp.float32)) for a in jax.tree.leaves(query))
        key = jr.fold_in(jr.key(1), jax.lax.bitcast_convert_type(seed, jnp.uint32))
        features = self._decoded(state, query, jr.normal(key, (LEARNING, self.factors.size)))
        return -self.on(features).log_joint(query) / features.shape[1]

    def _decoded(
        self, state: Moments, query: dict[str, Array], noise: Float[Array, "S Z"]
    ) -> Float[Array, "S Q E"]:
        posterior, x = self.latent(state), self.reader.x(query)
        along = jax.vmap(self.along)(x)
        log_rows = jnp.log1p(jnp.minimum(state.rows, 2 * self.task.rows[1])) / 3.0
        known = jnp.append(0.5 * jnp.log(posterior.fit.spread + 1e-4), log_rows)
        if not self.stochastic:
            noise = jnp.zeros((1, noise.shape[1]))
            known = jnp.append(known, jnp.log(posterior.sd))
        z = posterior.mean + posterior.unwhiten(noise)

        def one(z: Array) -> Array:
            fixed = jnp.broadcast_to(
                jnp.concatenate([z, known]), (x.shape[0], z.shape[0] + known.shape[0])
            )
            fitted = along * z
            seen = jnp.concatenate([x, fitted, fixed], -1)
            return jnp.concatenate([jax.vmap(self.bend)(seen), fitted, fixed], -1)

        return jax.vmap(one)(z)


def neural_process(
    task: AbstractTask, size: int, hidden: int, head: int, stochastic: bool, key: PRNGKeyArray
) -> NeuralProcess:
    """A neural process with a task latent of a size, its weights drawn with the key."""
    keys = jr.split(key, 5)
    read = reader(task, keys[0])
    fixed = size + 2 + (0 if stochastic else size)
    return NeuralProcess(
        task=task, stochastic=stochastic, reader=read,
        factors=Factors(read, size, hidden, keys[1]),
        along=eqx.nn.Linear(read.x_size, size, key=keys[2]),
        bend=mlp(read.x_size + size + fixed, hidden, hidden, 2, keys[3]),
        head=Head(hidden + size + fixed, read, head, keys[4]),
    )  # fmt: skip
