"""Implicit regime with a state that forgets nothing: what a query reads of all rows by attention.

    w_hj = exp(q_h(x*)' k_h(r_j)),    mass_h = sum_j w_hj,    mean_h = sum_j w_hj v_h(r_j) / mass_h

A softmax over all rows is the mean of those over each mini-batch, weighted by their masses, so a
state of means and log masses, which begins with a learned mean of mass one, is updated exactly, in
any order and number of mini-batches: Milakov and Gimelshein 2018, "Online normalizer calculation
for softmax", arXiv 1805.02867. Kernel estimates, among them the mean velocity of flow matching from
a set of points, are of this form.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.method import Target
from amortppl.networks.mlp import mlp
from amortppl.predictive.head import Head
from amortppl.predictive.predictor import PRIOR, Headed
from amortppl.predictive.preprocessing import Reader
from amortppl.predictive.query_state import (
    QueryState,
    expect_queries,
    expect_same_queries,
    no_queries,
)
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

FARTHEST = 60.0
"""Bound on scores."""

NUMBERS = 8
"""Numbers in a head's key and in what it reads."""

FACTOR = 3.0
"""Largest logarithm of what is read is multiplied by, as the query says."""


class QueryAttention(eqx.Module):
    """Attention of queries on rows whose means and log masses are kept apart.

    Attributes:
        query, key: perceptrons, (X,) and (R,) -> (H K).
        value: linear, (R,) -> (H V).
        factor: perceptron (X,) -> log factors of what is read and of the query's own numbers.
    """

    query: eqx.nn.MLP
    key: eqx.nn.MLP
    value: eqx.nn.Linear
    factor: eqx.nn.MLP
    heads: int = eqx.field(static=True)

    def __init__(self, inputs: int, rows: int, heads: int, hidden: int, key: PRNGKeyArray) -> None:
        keys = jr.split(key, 4)
        size = heads * NUMBERS
        self.query = mlp(inputs, size, hidden, 2, keys[0])
        self.key = mlp(rows, size, hidden, 2, keys[1])
        self.value = eqx.nn.Linear(rows, size, key=keys[2])
        both = size + inputs
        self.factor = mlp(inputs, both, hidden, 2, keys[3], start=jnp.zeros(both))
        self.heads = heads

    @property
    def size(self) -> int:
        """Numbers in a query's state."""
        return self.heads * (NUMBERS + 1)

    def features_size(self, inputs: int) -> int:
        """Numbers in `features`."""
        return self.size + 2 * inputs

    def __call__(
        self,
        state: Float[Array, "Q Z"],
        at: Float[Array, "Q X"],
        rows: Float[Array, "B R"],
        mask: Bool[Array, " B"],
    ) -> Float[Array, "Q Z"]:
        """The state after the rows that the mask keeps."""
        split = lambda a: a.reshape(a.shape[0], self.heads, NUMBERS)  # noqa: E731
        q, k, v = (split(jax.vmap(f)(a)) for f, a in self._maps(at, rows))
        scores = jnp.einsum("qhk,bhk->qhb", q, k) / NUMBERS**0.5
        scores = jnp.where(mask, jnp.clip(scores, -FARTHEST, FARTHEST), -1e9)
        mass = jax.nn.logsumexp(scores, -1)
        mean = jnp.einsum("qhb,bhk->qhk", jax.nn.softmax(scores, -1), v)
        return self.merged(state, jnp.concatenate([mean.reshape(len(at), -1), mass], -1))

    def merged(self, a: Float[Array, "Q Z"], b: Float[Array, "Q Z"]) -> Float[Array, "Q Z"]:
        """The state of the rows of two states."""
        means, masses = zip(*(self._parts(s) for s in (a, b)), strict=True)
        mass = jnp.logaddexp(*masses)
        share = jnp.exp(masses[1] - mass)[..., None]
        mean = means[0] + share * (means[1] - means[0])
        return jnp.concatenate([mean.reshape(mean.shape[0], -1), mass], -1)

    def less(self, a: Float[Array, "Q Z"], b: Float[Array, "Q Z"]) -> Float[Array, "Q Z"]:
        """The state `a` without the rows of `b`, which it holds: masses are subtracted."""
        means, masses = zip(*(self._parts(s) for s in (a, b)), strict=True)
        share = jnp.minimum(jnp.exp(masses[1] - masses[0]), 1.0 - 1e-6)[..., None]
        mean = (means[0] - share * means[1]) / (1.0 - share)
        mass = masses[0] + jnp.log1p(-share[..., 0])
        return jnp.concatenate([mean.reshape(mean.shape[0], -1), mass], -1)

    def features(self, state: Float[Array, "Q Z"], at: Float[Array, "Q X"]) -> Array:
        """What a head reads: the query, and query and means by the query's own factors."""
        mean, mass = state[:, : -self.heads], state[:, -self.heads :]
        factor = jnp.exp(jnp.clip(jax.vmap(self.factor)(at), -FACTOR, FACTOR))
        seen = factor * jnp.concatenate([mean, at], -1)
        return jnp.concatenate([seen, at, jnp.clip(mass, -FARTHEST, FARTHEST) / 5.0], -1)

    def _maps(self, at: Array, rows: Array) -> list[tuple[Any, Array]]:
        return [(self.query, at), (self.key, rows), (self.value, rows)]

    def _parts(self, state: Float[Array, "Q Z"]) -> tuple[Array, Array]:
        mean = state[:, : -self.heads].reshape(state.shape[0], self.heads, NUMBERS)
        return mean, state[:, -self.heads :]


class AttentionUpdate(Headed):
    """The built method, `iterative_implicit` with `state="attention"`."""

    task: AbstractTask = eqx.field(static=True)
    options: Any = eqx.field(static=True)
    reader: Reader
    attention: QueryAttention
    start: eqx.nn.MLP
    head: Head
    regime: ClassVar[str] = "implicit"
    revision: ClassVar[int] = 1
    queries_first: ClassVar[bool] = True

    def init(self, queries: dict[str, Array] | None = None) -> QueryState:
        """What the queries hold before any row; without queries the states of none."""
        queries = no_queries(self.task) if queries is None else queries
        value = jax.vmap(self.start)(self.reader.crossed(queries))
        return QueryState(queries, value, jnp.ones(value.shape[0]), jnp.zeros(()))

    def step(self, state: QueryState, batch: Batch) -> QueryState:
        """The states after a mini-batch."""
        count = jnp.sum(batch.mask)
        at = self.reader.crossed(state.queries)
        value = self.attention(state.value, at, self.reader.rows(batch.data), batch.mask)
        return state._replace(value=value, weight=state.weight + count, rows=state.rows + count)

    def features(self, state: QueryState, query: dict[str, Array]) -> Float[Array, "1 Q E"]:
        """What the head reads.

        Raises:
            GuideError: another number of queries than the state belongs to.
        """
        expect_queries(state, query)
        return self.attention.features(state.value, self.reader.crossed(state.queries))[None]

    def start_pass(self, state: QueryState, since: QueryState) -> QueryState:
        """The state before the rows that come again: they would say the same once more."""
        return since

    def combine(self, states: Sequence[QueryState]) -> QueryState:
        """The state of the union of disjoint rows, exactly.

        Raises:
            GuideError: states of other queries.
        """
        first = self.init(states[0].queries)
        expect_same_queries(states, first)
        whole = states[0].value
        for state in states[1:]:
            whole = self.attention.merged(whole, self.attention.less(state.value, first.value))
        rows = jnp.sum(jnp.stack([s.rows for s in states]))
        return QueryState(first.queries, whole, 1.0 + jnp.full(len(whole), rows), rows)

    def score(self, state: QueryState, target: Target) -> Array:
        """-log p(y* | x*, D) in nats a query, and a little of it before any row."""
        return self.loss(state, target.query) + PRIOR * self.loss(
            self.init(state.queries), target.query
        )


def attention_update(
    task: AbstractTask, options: Any, read: Reader, key: PRNGKeyArray
) -> AttentionUpdate:
    """Draws the weights for a task whose rows are read as `read` says."""
    keys, inputs = jr.split(key, 3), read.crossed_size
    attention = QueryAttention(inputs, read.row_size, options.heads, options.hidden, keys[0])
    return AttentionUpdate(
        task=task,
        options=options,
        reader=read,
        attention=attention,
        start=mlp(
            inputs, attention.size, options.hidden, 1, keys[1], start=jnp.zeros(attention.size)
        ),
        head=Head(attention.features_size(inputs), read, options.hidden, keys[2]),
    )
