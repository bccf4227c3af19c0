"""Parametric regime: a learned update maps a posterior over the latents and a mini-batch to a better posterior.

    theta_0 learned,    theta_i+1 = h(theta_i, B_i),    theta = (location, spread) in prior units

h is a transformer over one token a latent (where it stands, the mini-batch's gradient and curvature
there, its site and place) and one a row (x, y), the same for 2 latents or 500 and for any
mini-batch; it moves in units of the state's own sds, by the mini-batch's share of the rows seen
(`amortppl.gaussian.learned_update`). It is trained greedily on states at all depths, and stays good
far beyond these.

Mittal, Mahajan, Lajoie and Pezeshki 2025, "Iterative Amortized Inference", arXiv 2510.11471, Eq. 7
and 9. With rows alone it is an iterated hypernetwork, with gradients alone a learned optimiser.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.gaussian import Gaussian
from amortppl.errors import ModelError, nearest, quoted
from amortppl.features import PriorScale, RowScaler, simulated_scales
from amortppl.framed import Posterior
from amortppl.gaussian.belief import Belief
from amortppl.gaussian.learned_update import FAR, SIGNALS, LearnedUpdate, Rows, Shape, present
from amortppl.gaussian.objectives import SCORES, check_objective
from amortppl.method import Method, Target
from amortppl.prior_units import Densities
from amortppl.task import Batch, Task
from amortppl.valley import Valley

POSTERIORS = ("full", "diagonal", "point")

MANY = 40
"""Latents beyond which they are independent by default, and curvature is no default signal."""

HELD_OUT = 16
"""Rows of the predictive objective."""


class IterativeGuide(Method):
    """The built method. See `IterativeParametric` for its options."""

    task: Task = eqx.field(static=True)
    options: "IterativeParametric" = eqx.field(static=True)
    scale: PriorScale
    rows: RowScaler
    update: LearnedUpdate
    queries: int = eqx.field(static=True)  # pyright: ignore[reportIncompatibleVariableOverride]
    regime: ClassVar[str] = "parametric"

    def init(self) -> Belief:
        """theta_0, the learned prior: no rows."""
        return self.update.init()

    def step(self, state: Belief, batch: Batch) -> Belief:
        """The state after a mini-batch; one of more rows than the option says is taken as several."""
        return self.update(state, batch, self._seen(), jnp.ones(len(SIGNALS), bool))

    def learn(self, state: Belief, batch: Batch, key: PRNGKeyArray) -> Belief:
        """A step in which now and then signals are absent, so that each is learned by itself too."""
        return self.update(state, batch, self._seen(), present(self.options.signals or (), self.options.drop, key))

    def readout(self, state: Belief) -> Posterior:
        """The Gaussian."""
        family = Gaussian(self.task.latents.size)
        return Posterior(stop_gradient(self.scale), state.frame(), family, family.initial(), Valley.none())

    def score(self, state: Belief, target: Target) -> Array:
        """The objective, in nats."""
        return SCORES[self.options.objective](state, self._log, target)

    @property
    def _log(self) -> Densities:
        return Densities(self.task, stop_gradient(self.scale), False)

    def _seen(self) -> Rows:
        log, first = self._log, stop_gradient(self.init())
        if not self.task.likelihood:
            return Rows(self._tokens, None)
        return Rows(
            self._tokens,
            lambda batch, _: lambda at: log.by_row(at, batch),
            lambda at: log.prior(at) - first.log_prob(at),
        )

    def _tokens(self, batch: Batch) -> Float[Array, "B R"]:
        """Rows in units of simulated ones, and their arcsinh."""
        curved = self.rows(batch.data)
        return jnp.concatenate([jnp.clip(jnp.sinh(curved), -FAR, FAR), curved], -1)


@dataclass(frozen=True)
class IterativeParametric:
    """Options of the learned update.

    Attributes:
        signals: what a step sees of a mini-batch: `data` (its rows), `gradient` and `curvature` (of its log
            likelihood at the state). By default all, without curvature beyond `MANY` latents; data alone for a
            task that says `likelihood=False`.
        posterior: `full` (a Gaussian with correlations), `diagonal` (independent latents) or `point`. By default
            `full`, and `diagonal` beyond `MANY` latents.
        objective: `forward_kl`, `reverse_kl` or `predictive` (`amortppl.gaussian.objectives`).
        closed_form: whether a step begins with the mini-batch's Gaussian site, which the network corrects.
        history: how many of the last steps the update sees.
        most: rows that a step looks at together, and the most that it is trained on; a longer mini-batch is taken
            as several.
        drop: share of training steps that see data alone, or all but data (half each).
        width, layers, heads: of the transformer.
    """

    signals: tuple[str, ...] | None = None
    posterior: str | None = None
    objective: str = "forward_kl"
    closed_form: bool = False
    history: int = 0
    most: int = 16
    drop: float = 0.25
    width: int = 32
    layers: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        unknown = [s for s in self.signals or () if s not in SIGNALS]
        if unknown or self.signals == ():
            raise LookupError(f"signals: {quoted(unknown)} not among {quoted(SIGNALS)}")
        if self.posterior is not None and self.posterior not in POSTERIORS:
            raise LookupError(f"posterior: {self.posterior!r} is none of {quoted(POSTERIORS)}"
                              f"{nearest(self.posterior, POSTERIORS)}")  # fmt: skip
        if self.signals is not None:
            object.__setattr__(self, "signals", tuple(s for s in SIGNALS if s in self.signals))

    def resolved(self, task: Task) -> "IterativeParametric":
        """The options with every default made definite for a task.

        Raises:
            ModelError: signals or an objective that need a likelihood the task does not offer, or a site without
                correlations.
            LookupError: no such objective.
        """
        check_objective(self.objective, task)
        many = task.latents.size > MANY
        usual = SIGNALS[:2] if many else SIGNALS
        signals = self.signals or (usual if task.likelihood else SIGNALS[:1])
        posterior = self.posterior or ("diagonal" if many and not self.closed_form else "full")
        if not task.likelihood and (signals != SIGNALS[:1] or self.closed_form):
            raise ModelError(
                f"iterative_parametric: {task.name} offers no likelihood, so there is neither gradient nor curvature "
                "nor site; leave `signals` and `closed_form` out, or give signals=('data',)"
            )
        if self.closed_form and posterior != "full":
            raise ModelError(f"closed_form: a site is a full Gaussian; got posterior={posterior!r}, leave it out")
        return replace(self, signals=signals, posterior=posterior)

    def schedule(self, task: Task) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 4000, "batch": 64, "rate": 3e-3, "average": 0.995, "mini_batch": self.most}

    def build(self, task: Task, key: PRNGKeyArray) -> IterativeGuide:
        """Draws the weights for a task; units come from simulated rows.

        Raises:
            ModelError: the task has no latents, or see `resolved`.
        """
        keys = jr.split(key)
        scale, rows = simulated_scales(task, keys[0])
        options = self.resolved(task)
        sites = tuple(task.latents.unconstrained[n] for n in task.latents.names)
        shape = Shape(
            sites, 2 * rows.size, options.posterior or "", options.signals or (), options.closed_form,
            options.history, options.most, (task.rows or (1, 1))[1],
        )  # fmt: skip
        update = LearnedUpdate(shape, keys[1], self.width, self.layers, self.heads)
        queries = HELD_OUT if options.objective == "predictive" else 0
        return IterativeGuide(task=task, options=options, scale=scale, rows=rows, update=update, queries=queries)


METHOD = IterativeParametric
