"""Implicit regime, iterated: each query carries its own state, refined by one mini-batch after
another.

    yhat^{i+1} = r([x, yhat^i], B^i),    yhat^0 learned

r is a transformer in which the query's token reads the rows of the mini-batch, and what their least
squares says of the query in closed form. What it proposes is mixed into the state with the
mini-batch's share of the evidence, about B / (n + B), so that it neither drifts nor
forgets over many mini-batches. It is trained greedily: one step from states of every depth, for
mini-batches of every size, no gradient through earlier steps.

Mittal, Mahajan, Lajoie and Pezeshki 2025, "Iterative Amortized Inference", arXiv 2510.11471, Eq. 8
and 9.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import GuideError, ModelError
from amortppl.method import Target
from amortppl.networks.mlp import mlp
from amortppl.networks.query_site import QuerySite, SiteReader
from amortppl.networks.update_transformer import UpdateTransformer, prefix_masks
from amortppl.predictive.attention_update import AttentionUpdate, attention_update
from amortppl.predictive.head import Head
from amortppl.predictive.predictor import PRIOR, Headed
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.predictive.query_state import (
    SPACES,
    LogitsHead,
    QueryState,
    Space,
    expect_queries,
    initial,
    no_queries,
    places,
    reaches,
    union,
)
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

BOUND = 4.0
"""Largest factor, as a logarithm, by which the network changes the weight of a mini-batch."""

QUICK = 1.5
"""How much more of the proposal than its share of the evidence all but places take to begin with,
in logits: a scale has to follow the evidence, not to average over it."""

QUICK_FADE = 5.0
"""How much faster than other weights the fading is learned: nearly all of it where a closed form
is right, nearly none where what is predicted is far from linear in its keys."""

NEAR = 0.2
"""What the parameters of a continuous y are moved by when the network says 1, to begin with: a
Gaussian with the closed form's place is nearly right where y is linear in x."""

FAR = 8.0
"""Largest number in a query's token."""


class ImplicitUpdate(Headed):
    """The built method. See `IterativeImplicit` for its options."""

    task: AbstractTask = eqx.field(static=True)
    options: "IterativeImplicit" = eqx.field(static=True)
    space: Space
    reader: Reader
    sites: SiteReader
    update: UpdateTransformer
    start: eqx.nn.MLP
    skip: Float[Array, "S Z"]
    reach: Float[Array, " Z"]
    fade: Float[Array, ""]
    head: Head
    regime: ClassVar[str] = "implicit"
    revision: ClassVar[int] = 1
    queries_first: ClassVar[bool] = True

    def init(self, queries: dict[str, Array] | None = None) -> QueryState:
        """The learned marginal of y at each query, before any row; without queries the states of
        none.
        """
        queries = no_queries(self.task) if queries is None else queries
        value = jax.vmap(lambda x: self.space.enter(self.start(x)))(self.reader.x(queries))
        return QueryState(queries, value, jnp.ones(value.shape[0]), jnp.zeros(()))

    def step(self, state: QueryState, batch: Batch) -> QueryState:
        """The states after a mini-batch; of more rows than `most`, one mini-batch after another."""
        rows, size = batch.mask.shape[0], self.options.most
        if not state.value.shape[0]:
            return state._replace(rows=state.rows + jnp.sum(batch.mask))
        if rows <= size:
            return self._step(state, batch)
        filled = jax.tree.map(
            lambda a: jnp.concatenate([a, jnp.repeat(a[:1], -rows % size, 0)]), batch.data
        )
        minis = Batch(filled, jnp.append(batch.mask, jnp.zeros(-rows % size, bool)))
        minis = jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), minis)
        return jax.lax.scan(lambda s, b: (self._step(s, b), None), state, minis)[0]

    def learn_scored(
        self, state: QueryState, batch: Batch, target: Target, key: PRNGKeyArray
    ) -> tuple[Array, QueryState]:
        """The mean loss of a mini-batch and of parts of it, in one pass over its rows."""
        after, parts = self._step(state, batch), self.options.sizes
        if not parts:
            return self.score(after, target), after
        sizes = jnp.exp(jr.uniform(key, (parts,)) * jnp.log1p(jnp.sum(batch.mask)))
        masks = prefix_masks(batch.mask, jnp.floor(sizes))
        others = jax.vmap(lambda mask: self._step(state, Batch(batch.data, mask)))(masks)
        scores = jax.vmap(self.loss, (0, None))(others, target.query)
        return (self.score(after, target) + jnp.sum(scores)) / (1 + parts), after

    def features(self, state: QueryState, query: dict[str, Array]) -> Float[Array, "1 Q E"]:
        """What the head reads: the states' coefficients, or hidden vectors.

        Raises:
            GuideError: another number of queries than the state belongs to.
        """
        expect_queries(state, query)
        return jax.vmap(self.space.leave)(state.value)[None]

    def start_pass(self, state: QueryState, since: QueryState) -> QueryState:
        """The states as they are, with the weight that they had before the rows that come again."""
        return state._replace(weight=since.weight, rows=since.rows)

    def combine(self, states: Sequence[QueryState]) -> QueryState:
        """The states of the union of disjoint rows; see `amortppl.predictive.query_state.union`.

        Raises:
            GuideError: states of other queries, or hidden vectors.
        """
        if self.space.name == "hidden":
            raise GuideError(
                "combine: states of IterativeImplicit that are hidden vectors do not combine; "
                "train it with state='logits', or take all rows one after another"
            )
        return union(states, self.init(states[0].queries))

    def score(self, state: QueryState, target: Target) -> Array:
        """-log p(y* | x*, D) in nats a query, and a little of it before any row."""
        return self.loss(state, target.query) + PRIOR * self.loss(
            self.init(state.queries), target.query
        )

    def _step(self, state: QueryState, batch: Batch) -> QueryState:
        """One mini-batch of at most `options.most` rows."""
        x, at = self.reader.crossed(batch.data), self.reader.crossed(state.queries)
        y = self.reader.y(self.reader.standard(batch.data))
        site = self.sites(self.sites.keys(x), y, batch.mask, self.sites.keys(at))
        count = jnp.sum(batch.mask)
        statistics = self._said(state, site, count)
        natural = jax.vmap(self.space.leave)(state.value)
        token = jnp.concatenate([at, natural, site.estimate, statistics], -1)
        answer = self.update(jnp.clip(token, -FAR, FAR), self.reader.rows(batch.data), batch.mask)
        weight = site.gain * jnp.exp(BOUND * jnp.tanh(answer[:, -2] / BOUND)) * (count > 0)
        share = weight / (state.weight + weight)
        value = self._mixed(
            state, site, self.reach * answer[:, :-2] + statistics @ self.skip, share, answer[:, -1]
        )
        return QueryState(state.queries, value, state.weight + weight, state.rows + count)

    def _mixed(
        self, state: QueryState, site: QuerySite, proposal: Array, share: Array, gate: Array
    ) -> Float[Array, "Q Z"]:
        """The proposals mixed into the states: places by the share of the evidence, all else by the
        network's gate.

        What the network adds to the closed form's places fades with the share, or its errors would
        not average out.
        """
        logit = jnp.log(jnp.maximum(share, 1e-30)) - jnp.log1p(-share)
        free = jnp.where(share > 0, jax.nn.sigmoid(logit + gate), 0.0)
        table = self._places
        if table is None:
            return state.value + free[:, None] * (proposal - state.value)
        placed = jnp.any(table > 0, 0)
        mix = jnp.where(placed, share[:, None], free[:, None])
        fading = jnp.where(
            placed, jnp.maximum(share, 1e-6)[:, None] ** jax.nn.sigmoid(QUICK_FADE * self.fade), 1.0
        )
        proposal = jax.vmap(self.space.enter)(fading * proposal + site.estimate @ table)
        return state.value + mix * (proposal - state.value)

    def _said(self, state: QueryState, site: QuerySite, count: Array) -> Float[Array, "Q S"]:
        """What the closed form says of the queries, in numbers of order one; no further than the
        rows trained on.
        """
        most = float(self.task.rows[1])
        depth = jnp.log(state.weight) - jax.nn.relu(jnp.log(jnp.maximum(state.rows, 1.0) / most))
        gain, spread = jnp.log(site.gain), 0.5 * jnp.log(site.spread + 1e-4)
        left = 0.5 * (
            jnp.log(site.before) - jnp.logaddexp(depth, gain)
        )  # log sd of what is still unknown
        each = jnp.stack([depth, gain, 0.5 * jnp.log(site.before), left], -1)
        rows = jnp.stack([jnp.log1p(count) / 3, jnp.log1p(jnp.minimum(state.rows, most)) / 3])
        log_sd = spread + jax.nn.softplus(2 * left)[:, None] / 2  # of y: noise, and what is unknown
        common = jnp.broadcast_to(rows, (each.shape[0], 2))
        return jnp.concatenate(
            [log_sd, site.fit, each, common, jnp.broadcast_to(spread, log_sd.shape)], -1
        )

    @property
    def _places(self) -> Float[Array, "V Z"] | None:
        """Which number of a state is the place of which number of y; none of a hidden vector."""
        return None if self.options.state == "hidden" else places(self.reader)


@dataclass(frozen=True)
class IterativeImplicit:
    """Options of the iterated implicit update.

    Attributes:
        state: what a query carries: `logits` (the predictive distribution's unnormalised
            parameters), `probabilities` or `hidden` (a vector that a head reads; what of it only
            later steps would read gets no gradient from a greedy loss, so that it is not taught to
            remember more than its own prediction); or `attention` (what the query reads of all rows
            by a softmax, kept as means and masses, so that no order or number of mini-batches
            matters: `amortppl.predictive.attention_update`).
        most: rows that a step looks at together; a longer mini-batch is taken as several.
        sizes: parts of a mini-batch, of random sizes, that training scores beside it in the same
            masked pass over its rows. The mini-batches themselves are of random sizes already; two
            parts cost 2.9 times as much and gained nothing at equal CPU time.
        width, layers, heads: of the update transformer.
        keys: numbers in a key of the closed-form reading.
        hidden: width of the perceptrons, and numbers in a `hidden` state.
    """

    state: str = "logits"
    most: int = 16
    sizes: int = 0
    width: int = 32
    layers: int = 2
    heads: int = 4
    keys: int = 16
    hidden: int = 32

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults: greedy, from a pool of states at all depths."""
        return {"steps": 4000, "batch": 64, "rate": 3e-3, "average": 0.995, "mini_batch": self.most}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> ImplicitUpdate | AttentionUpdate:
        """Draws the weights for a task; units come from simulated rows.

        Raises:
            ModelError: an unknown kind of state, or an observation without a predictive family.
        """
        if self.state not in SPACES:
            raise ModelError(f"state: expected one of {', '.join(SPACES)}, got {self.state!r}")
        keys = jr.split(key, 6)
        read, apart = reader(task, keys[0]), self.state == "hidden"
        if self.state == "attention":
            return attention_update(task, self, read, keys[1])
        first = jnp.zeros(self.hidden) if apart else initial(read)
        size, values = first.shape[0], read.y_size
        plain, crossed = read.x_size, read.crossed_size
        reach = jnp.ones(size) if apart else reaches(read, NEAR)
        statistics = 3 * values + 6
        skip = jnp.zeros((statistics, size))
        update = UpdateTransformer(
            crossed + size + values + statistics,
            read.row_size,
            size + 2,
            keys[2],
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            states_mix=False,
            rows_see=(),
        )
        return ImplicitUpdate(
            task=task,
            options=self,
            space=Space(self.state, read.parts),
            reader=read,
            sites=SiteReader(crossed, plain // 2, self.keys, self.hidden, keys[1], crossed - plain),
            update=eqx.tree_at(lambda n: n.bias, update, update.bias.at[-1].set(QUICK)),
            start=mlp(read.x_size, size, self.hidden, 1, keys[3], start=None if apart else first),
            skip=skip if apart else skip.at[:values].set(places(read, 1)),
            reach=reach,
            fade=jnp.zeros(()),
            head=Head(size, read, self.hidden, keys[4])
            if apart
            else LogitsHead(read, self.hidden, keys[4]),
        )


METHOD = IterativeImplicit
