"""The rung of many short chains, for posteriors of several modes.

Adaptive importance sampling from the prior on finds where the mass is, whatever the draws so far
are, and weighs the modes against one another (`amortppl.densities.unnormalized`). An answer passes
by the weights of these points: their k-hat and how many draws they are worth.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.unnormalized import Unnormalized
from amortppl.errors import ModelError
from amortppl.runtime.compilation import Compiled
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale, simulated_scales
from amortppl.trust import psis
from amortppl.trust.attempt import Attempt, Climb
from amortppl.trust.pareto import log_sum_exp
from amortppl.trust.rungs.batching import batch_together
from amortppl.trust.verdict import MISSED

POINTS, CHAINS, WARMUP = 65_536, 256, 200
"""Points of the last stage of importance sampling, chains at most, and steps before their draws."""

LATENTS, WORK = 12, 1 << 30
"""Latents beyond which proposals do not reach the mass, and points times rows at most."""


def draw_from_modes(run: Climb, places: list[int]) -> list[Attempt]:
    """Draws of each dataset whose answer misses mass elsewhere, or whose weights say nothing.

    Raises:
        ModelError: too many latents or rows, or none of the datasets needs it.
    """
    task, method = run.guide.method.task, run.guide.method
    _expect_few(task, max(run.datasets[i].rows for i in places))
    if not any(_needs(run, i) for i in places):
        raise ModelError("no other mode was seen")
    scale = getattr(method, "scale", None) or simulated_scales(task, jr.key(0))[0]
    return [
        _of_dataset(run, task, scale, i)
        if _needs(run, i)
        else run.best[i]._replace(failed="no other mode was seen")
        for i in places
    ]


def _expect_few(task: AbstractTask, rows: int) -> None:
    if task.latents.size > LATENTS or task.local or rows * POINTS > WORK:
        raise ModelError(
            f"for at most {LATENTS} latents, none of them of a row alone, and {WORK // POINTS:,} "
            "rows"
        )


def _needs(run: Climb, place: int) -> bool:
    best = run.best[place]
    return best.missed > MISSED or not best.khat < run.ladder.khat


def _of_dataset(run: Climb, task: AbstractTask, scale: PriorScale, place: int) -> Attempt:
    batch, keys = batch_together(run, [place], 7)
    one = jax.tree.map(lambda a: a[0], batch)
    vectors, log_q, joint, log_weights = (
        np.asarray(a, np.float64) for a in _draw(task, scale, one, keys[0], run.draws)
    )
    khat = float(psis.khat_of(log_weights[None])[0])
    level = log_weights - log_sum_exp(log_weights)[0]
    size = float(np.exp(-log_sum_exp(2 * level)[0]))
    failed = "" if khat < run.ladder.khat else f"k-hat {khat:.2f}"
    failed = failed or ("" if size >= run.ladder.ess else f"importance sample size {size:.0f}")
    equal = np.full(run.draws, -np.log(run.draws))
    ess = min(size, float(run.draws))
    return Attempt(vectors, log_q, joint, equal, khat, ess, np.nan, failed)


@Compiled
def _draw(
    task: AbstractTask, scale: PriorScale, batch: Batch, key: PRNGKeyArray, draws: int
) -> tuple[Float[Array, "S P"], Array, Array, Array]:
    """Draws of one dataset, their log density, the log joint, and log weights of all points."""

    def height(standard: Float[Array, " P"]) -> Any:
        return task.log_joint(scale.restore(standard), batch)

    found = Unnormalized(height, task.latents.size, POINTS, CHAINS, WARMUP)
    standard, log_q = found.sample(key, draws)
    joint = log_q + found.found.log_mass
    log_q -= jnp.sum(jnp.log(scale.scale))
    return scale.restore(standard), log_q, joint, found.start_weights()
