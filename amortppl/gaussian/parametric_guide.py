"""The guide of the parametric regime: a Gaussian frame by derivatives, corrected by a flow in it.

See `inference/parametric.py` for the method and its papers.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from amortppl.densities import Density, density
from amortppl.densities.faded import Faded
from amortppl.gaussian.accumulator import EvidenceSum
from amortppl.gaussian.correction import learned_correction
from amortppl.gaussian.frame import Frame
from amortppl.gaussian.linear_frame import LinearFrame
from amortppl.gaussian.log_density import Densities
from amortppl.gaussian.plates import Plates
from amortppl.gaussian.posterior import Posterior
from amortppl.gaussian.revisits import revise, union_of_states
from amortppl.gaussian.row_chunks import DATASETS_PER_CALL, free, thin
from amortppl.gaussian.search import Search
from amortppl.gaussian.shared_correction import SharedCorrection
from amortppl.gaussian.state import Revisit, Start, State
from amortppl.gaussian.summary import describe, fade, log_rows
from amortppl.gaussian.update import Site, non_gaussian_share, update_state
from amortppl.method import Method, Target
from amortppl.networks import Encoder
from amortppl.networks.with_columns import WithColumns
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale, RowScaler

MORE = 5
"""Multiple of the usual Newton steps and sweeps that a refinement takes."""

FEWER = 20
"""Steps of a hierarchical search in training."""


class ParametricGuide(Method):
    """The built method.

    Attributes:
        options: of `inference.parametric.Parametric`, every default made definite: `signals`,
            `newton` and `sweeps`.
    """

    task: AbstractTask = eqx.field(static=True)
    options: Any = eqx.field(static=True)
    scale: PriorScale
    rows: RowScaler
    encode: Encoder
    correct: eqx.nn.MLP | SharedCorrection
    place: eqx.nn.MLP | None
    adjust: eqx.nn.MLP | None
    regress: LinearFrame | None
    density: Density
    gammas: bool = eqx.field(static=True)
    plates: Plates | None = eqx.field(static=True)
    regime: ClassVar[str] = "parametric"
    learns_density: ClassVar[bool] = True
    revision: ClassVar[int] = 6
    opening: ClassVar[int] = 128

    @property
    def keeps_start(self) -> bool:
        """Whether training must not fall behind the frame: for crossed and nested groups, whose
        frames are far off for many a dataset.
        """
        return self._framed and self.task.several is not None

    @property
    def max_batch(self) -> int | None:
        """A search costs as many chunks as there are rows, so few datasets share a call."""
        return DATASETS_PER_CALL if self._framed and free(self.task) else None

    def init(self) -> Start:
        """The prior, no evidence."""
        return Start()

    def step(self, state: Start | State | Revisit, batch: Batch) -> State | Revisit:
        """Adds a mini-batch: the first by a search, a later one by its Gaussian site."""
        if isinstance(state, Revisit):
            likelihood = self._log.within(state.base.funnel).likelihood(batch)
            again = state.again.add(likelihood, state.base.frame, jnp.sum(batch.mask))
            return state._replace(again=again)
        before = self._prior() if isinstance(state, Start) else state
        after = self._count(before, batch)
        if not self._framed:
            return after
        if isinstance(state, Start):
            return self._search.state(after, self._starts(after), batch)
        return jax.lax.cond(
            jnp.any(batch.mask), lambda: self._update(before, after, batch), lambda: before
        )

    def prepare(self, batch: Batch) -> State:
        """The state after all rows, by a shorter search than at inference."""
        after = self._count(self._prior(), batch)
        return self._search._replace(steps=FEWER).state(after, self._starts(after), batch)

    def recall(self, state: State, batch: Batch) -> State:
        """The state with its rows encoded by the present weights."""
        return state._replace(context=self._count(self._prior(), batch).context)

    def start_pass(self, state: State | Revisit, since: Start | State) -> Revisit:
        """A state that will meet again the rows it has seen after `since`."""
        return Revisit(self.finalize(state), since, EvidenceSum.none(self.task.latents.size))

    def combine(self, states: Sequence[State | Revisit]) -> State:
        """The state of the union of disjoint rows; natural parameters add in float64."""
        return union_of_states([self.finalize(s) for s in states])

    def readout(self, state: Start | State | Revisit) -> Posterior:
        """The corrected posterior: a flow in the frame."""
        state, scale = self.finalize(state), stop_gradient(self.scale)
        coefficients = self.correct(self.summary(state))
        if not self._framed or self.task.block:
            frame = self._regressed(state) if self.regress else state.frame
            return Posterior(scale, frame, self.density, coefficients, state.funnel)
        share = stop_gradient(fade(state.rows, self._most))
        faded = Faded(self.density), jnp.append(coefficients, share)
        return Posterior(scale, state.frame, *faded, state.funnel)

    def summary(self, state: Start | State | Revisit) -> Float[Array, " F"]:
        """Encoded rows, the frame and its residual: what the networks see."""
        state = self.finalize(state)
        encoded = self.encode.read(state.context)
        return describe(state, encoded, self._most, frame=self._framed)

    def refine(self, batch: Batch) -> Posterior:
        """The frame after `MORE` times as many steps and sweeps, read out as Gaussian."""
        if not self._framed:
            return super().refine(batch)
        begin = self._count(self._prior(), batch)
        first = self._search.state(begin, self._starts(begin), batch)
        frame, funnel = self._search.refine(first.frame.location, batch, MORE)
        family = density("gaussian", self.task.latents.size, jr.key(0))
        scale = stop_gradient(self.scale)
        return Posterior(scale, frame, family, family.initial(), funnel)

    def score(self, state: State, target: Target) -> Array:
        """-log q(theta | D) in nats, plus half the squared error of the first placement."""
        loss = -self.readout(state).log_prob(target.latents)
        if self.place is None:
            return loss
        miss = stop_gradient(self.scale).standardize(target.latents) - self._place_first(state)
        return loss + 0.5 * jnp.mean(jnp.minimum(miss * miss, 25.0))

    def _regressed(self, state: State) -> Frame:
        """The frame by linear regression on the columns of a block."""
        assert self.regress is not None and isinstance(self.encode, WithColumns)
        frame = self.regress(state.context[self.encode.encode.size :])
        return Frame(*(stop_gradient(a) for a in frame))

    def _prior(self) -> State:
        """The state of no evidence: a standard normal in prior units stands for the prior."""
        plated = self.plates.plated if self.plates else ()
        return State.of_prior(self.task.latents.size, self.encode.size, plated)

    def _count(self, state: State, batch: Batch) -> State:
        """The state with a mini-batch's rows counted and encoded."""
        count = jnp.sum(batch.mask)
        rows = state.rows + count
        if "data" in self.options.signals:
            added = count * (self._encode_rows(batch) - state.context)
            state = state._replace(context=state.context + added / jnp.maximum(rows, 1.0))
        return state._replace(rows=rows)

    def _encode_rows(self, batch: Batch) -> Float[Array, " E"]:
        """Mean of the encoded rows; with a frame, of no more rows than were trained on."""
        if self._framed and len(batch.mask) > self._most:
            batch = thin(batch, int(self._most))
        return self.encode(self.rows(batch.data), batch.mask) / jnp.maximum(jnp.sum(batch.mask), 1)

    def finalize(self, state: Start | State | Revisit) -> State:
        """The state with a pass under way finished, weighted by its rows."""
        if isinstance(state, Start):
            return self._prior()
        if isinstance(state, State):
            return state
        begin = self._prior() if isinstance(state.since, Start) else state.since
        return revise(state, begin, self._log.within(state.base.funnel).prior)

    @property
    def _search(self) -> Search:
        curvature = "curvature" in self.options.signals
        return Search(self._log, self.plates, self.options.newton, self.options.sweeps, curvature)

    def _starts(self, state: State) -> Float[Array, "S P"]:
        """The prior's centre, and the network's placement."""
        if self.place is None:
            return state.frame.location[None]
        return jnp.stack([state.frame.location, stop_gradient(self._place_first(state))])

    def _place_first(self, state: State) -> Float[Array, " P"]:
        assert self.place is not None  # a method of data alone has no first placement
        encoded = self.encode.read(state.context)
        return self.place(jnp.append(encoded, log_rows(state.rows, self._most)))

    def _update(self, before: State, after: State, batch: Batch) -> State:
        likelihood = self._log.within(before.funnel).likelihood(batch)
        correction = partial(self._correct, before, after)
        information = self._search.information(batch, before.rows)
        return update_state(before, after, likelihood, correction, information)

    def _correct(
        self, before: State, after: State, site: Site
    ) -> tuple[Float[Array, " P"], Float[Array, "P P"]]:
        """The learned part of a later step."""
        assert self.adjust is not None  # a method of data alone takes no such step
        count = after.rows - before.rows
        added = after.rows * after.context - before.rows * before.context
        rows = [log_rows(n, self._most)[None] for n in (before.rows, count)]
        seen = jnp.concatenate([self.encode.read(added / jnp.maximum(count, 1.0)), *rows])
        return learned_correction(self.adjust, seen, site, self._skew(after.rows, site.residual))

    def _skew(self, rows: Array, residual: Array) -> Array:
        """How far from Gaussian, in (0, 1); 1 / sqrt(1 + n / P) without the curvature signal."""
        if "curvature" not in self.options.signals:
            return 1.0 / jnp.sqrt(1.0 + rows / self.task.latents.size)
        return non_gaussian_share(residual)

    @property
    def _log(self) -> Densities:
        return Densities(self.task, stop_gradient(self.scale), self.gammas)

    @property
    def _framed(self) -> bool:
        """Whether there is a frame: whether a step sees the likelihood."""
        return self.options.signals != ("data",)

    @property
    def _most(self) -> float:
        return float((self.task.rows or (1, 1))[1])
