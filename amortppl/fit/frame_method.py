"""The frame alone: a Gaussian placed by derivatives of the log joint, with nothing learned.

Newton steps lead to the mode, latents in plates are placed given the others, and sweeps of
Gaussian variational inference move the frame to where the mass lies (`amortppl.gaussian.search`).
Where effects are crossed, scales are placed first (`amortppl.gaussian.scales_first`).
It is what `parametric` starts from before it is trained.
"""

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.lax import stop_gradient
from jaxtyping import Array, PRNGKeyArray

from amortppl.densities.gaussian import Gaussian
from amortppl.errors import GuideError, ModelError
from amortppl.gaussian.class_detection import classes_of, real_latents
from amortppl.gaussian.frame import Frame
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.log_density import Densities, has_log_gamma
from amortppl.gaussian.marginal_search import STEPS
from amortppl.gaussian.plate_detection import (
    CONNECTED,
    in_plates,
    plates_given_others,
    shares_plate,
)
from amortppl.gaussian.plates import Plates
from amortppl.gaussian.posterior import Posterior
from amortppl.gaussian.row_chunks import DATASETS_PER_CALL, free
from amortppl.gaussian.scales_first import Effects, scales_first
from amortppl.gaussian.scales_posterior import ScalesPosterior, ScalesState
from amortppl.gaussian.search import Search
from amortppl.gaussian.state import Start, State
from amortppl.gaussian.touched import Classes
from amortppl.method import Method, Target
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale, central

MORE = 5
"""Multiple of the usual Newton steps and sweeps that a refinement takes."""

SIMULATED = 4096
"""Draws of the latents that give the prior's centre and scale."""

DENSE = 1000
"""Most effects that are not independent of one another given the other latents, where there are
several plates."""

OTHERS = 1200
"""Most crossed effects beside those of the largest grouping."""

LARGE, FEWER = 60, (12, 20)
"""Latents of the largest part from which on the search takes fewer steps, of all latents and of
those outside plates: each costs 3 products with the Hessian for every latent of the part."""

SECONDS, PATIENCE = 6e-5, 20.0
"""CPU seconds of a search for each effect and row, and how many pass without a word: 100 effects
and 1,000 rows took 14 with the steps of small parts, which are 2.3 times as many."""

TINY = 1e-30
"""Least scale of a latent: coefficients of columns in large units are small numbers."""


class FrameGuide(Method):
    """The built method. See `FrameAlone` for its options."""

    task: AbstractTask = eqx.field(static=True)
    options: "FrameAlone" = eqx.field(static=True)
    scale: PriorScale
    gammas: bool = eqx.field(static=True)
    plates: Plates | None = eqx.field(static=True)
    classes: Classes | None = eqx.field(static=True, default=None)
    regime: ClassVar[str] = "parametric"
    runs_once: ClassVar[bool] = True
    opening: ClassVar[int] = 128

    @property
    def quick(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Draws of crossed effects take a mode each."""
        return self.classes is None

    @property
    def max_batch(self) -> int | None:
        """A search costs as many chunks as there are rows, so few datasets share a call."""
        return DATASETS_PER_CALL if free(self.task) else None

    def init(self) -> Start:
        """The prior, no evidence."""
        return Start()

    def step(self, state: Start | State | ScalesState, batch: Batch) -> State | ScalesState:
        """The frame of all rows.

        Raises:
            GuideError: for a second mini-batch.
        """
        if not isinstance(state, Start):
            raise GuideError(
                "fit: its guide takes all rows of a dataset at once; train 'parametric' on the "
                "task for mini-batches"
            )
        if self.classes is not None:
            return self._of_crossed(batch, self.classes)
        before = self._prior()
        counted = before._replace(rows=before.rows + jnp.sum(batch.mask))
        return self._search.state(counted, before.frame.location[None], batch)

    def readout(self, state: Start | State | ScalesState) -> Posterior | ScalesPosterior:
        """The Gaussian of the frame, through the funnel where latents lie in plates; of crossed
        effects scales by theirs, and all else given these.
        """
        if isinstance(state, ScalesState):
            assert self.classes is not None
            effects = Effects(self._log, self._real, self.classes, state.batch, state.rows)
            return ScalesPosterior.of(effects, state.scales)
        state = self._prior() if isinstance(state, Start) else state
        return self._posterior(state.frame, state.funnel)

    def refine(self, batch: Batch) -> Posterior:
        """The frame after `MORE` times as many steps and sweeps.

        Raises:
            GuideError: effects are crossed, and the search for their scales has converged.
        """
        if self.classes is not None:
            raise GuideError("scales were placed by their marginal; more steps do not move them")
        return self._posterior(*self._search.refine(self._prior().frame.location, batch, MORE))

    def score(self, state: Start | State | ScalesState, target: Target) -> Array:
        """-log q(theta | D) in nats."""
        return -self.readout(state).log_prob(target.latents)

    def _posterior(self, frame: Frame, funnel: Funnel) -> Posterior:
        family = Gaussian(self.task.latents.size)
        return Posterior(stop_gradient(self.scale), frame, family, family.initial(), funnel)

    def _of_crossed(self, batch: Batch, classes: Classes) -> ScalesState:
        """Scales, where each row depends on few of many effects."""
        start = jnp.zeros(self.task.latents.size)
        effects = Effects.find(self._log, self._real, classes, batch, start)
        scales = jax.tree.map(stop_gradient, scales_first(effects, start))
        return ScalesState(batch, effects.rows, scales)

    @property
    def _real(self) -> tuple[bool, ...]:
        return tuple(real_latents(self.task).tolist())

    def _prior(self) -> State:
        plated = self.plates.plated if self.plates and not self.classes else ()
        return State.of_prior(self.task.latents.size, 0, plated)

    @property
    def _log(self) -> Densities:
        return Densities(self.task, stop_gradient(self.scale), self.gammas)

    @property
    def _search(self) -> Search:
        newton, steps = self.options.newton, STEPS
        if self.plates is not None and self.plates.most > LARGE:
            newton, steps = min(newton, FEWER[0]), FEWER[1]
        return Search(self._log, self.plates, newton, self.options.sweeps, True, steps)


@dataclass(frozen=True)
class FrameAlone:
    """Options of the frame that `ap.fit` starts from.

    Attributes:
        newton: Newton steps to the mode.
        sweeps: Gaussian variational sweeps after it.
    """

    newton: int = 20
    sweeps: int = 4

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Nothing is trained."""
        return {"steps": 0}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> FrameGuide:
        """Prior units, from latents drawn from the prior.

        Raises:
            ModelError: the task has no likelihood, or no latents.
        """
        if not task.likelihood:
            raise ModelError(
                f"fit: it follows the derivatives of the likelihood, which {task.name} does not "
                "offer; train a guide on simulated data: ap.train(ap.Task(...))"
            )
        if not task.latents.size:
            raise ModelError(f"fit: {task.name} has no latents to infer")
        plates = plates_given_others(task)
        crossed = plates is not None and len({*plates.parts} - {-1}) == 1
        classes = classes_of(task) if crossed and not shares_plate(task) else None
        _expect_few_effects(task, plates, classes)
        if plates is not None and classes is None:
            tell_time(task, plates)
        scale, gammas = prior_scale(task, key), has_log_gamma(task)
        return FrameGuide(task, self, scale, gammas, plates, classes)


def _expect_few_effects(task: AbstractTask, plates: Plates | None, classes: Classes | None) -> None:
    """Refuses effects in plates of which none is common to all, if there are too many.

    Raises:
        ModelError: with what can be done.
    """
    if plates is None or shares_plate(task):
        return
    effects = int(in_plates(task).sum())
    advice = "Run NUTS (numpyro.infer.NUTS takes this model), or leave out groups"
    if classes is not None:
        others = len(classes.plates.outer)
        if others > OTHERS:
            raise ModelError(
                f"fit: {task.name} has {effects:,} crossed effects, {others:,} of them beside "
                f"those of the largest grouping. These go by a dense matrix, {OTHERS:,} at most: "
                f"beyond, time grows with the cube of their number. {advice}"
            )
    elif effects > (DENSE if plates.most > DENSE else CONNECTED):
        raise ModelError(
            f"fit: {task.name} has {effects:,} effects in several plates, and a row, or the prior, "
            f"depends on several effects of one kind. Such effects go by a dense matrix, {DENSE:,} "
            f"of them at most, and nested ones by one matrix for each outer group, {CONNECTED:,} "
            "at most: beyond, time and memory grow with the cube and the square of their number. "
            f"{advice}"
        )


def tell_time(task: AbstractTask, plates: Plates) -> None:
    """Warns of a search that takes more than `PATIENCE`, by its derivatives."""
    rows = task.rows[1] if task.rows else 1
    seconds = SECONDS * plates.most * rows
    if plates.most > LARGE and seconds > PATIENCE:
        warnings.warn(
            f"fit: {plates.most:,} effects that depend on one another and {rows:,} rows take some "
            f"{seconds:.0f} CPU seconds before the first check. Where that fails, the ladder takes "
            "minutes more, up to NUTS; trust=ap.Ladder(budget=...) bounds it, in seconds",
            stacklevel=2,
        )


def prior_scale(task: AbstractTask, key: PRNGKeyArray) -> PriorScale:
    """Median and half of the central 68% of each latent, unconstrained, under the prior.

    Of a simulation only the latents are kept, so that the rows are never drawn.
    """
    rows = (task.rows or (1, 1))[0]

    latents = jax.vmap(lambda k: task.simulate(k, rows).latents)(jr.split(key, SIMULATED))
    low, centre, high, _ = central(latents)
    return PriorScale(centre, jnp.maximum((high - low) / 2, TINY))
