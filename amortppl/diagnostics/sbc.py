"""Simulated datasets and what a guide says of each, in one compiled call: the raw material of
calibration.
"""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from amortppl.errors import DataError
from amortppl.gaussian.log_density import Densities
from amortppl.method import Method, final
from amortppl.posterior.draws import draw
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import jit_lightly, jit_unoptimized, run_once
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale
from amortppl.training.simulate import WHOLE, parts, simulate
from amortppl.training.trained import TrainedMethod

if TYPE_CHECKING:
    from amortppl.data.dataset import Dataset

WORK = 2_000_000
"""Datasets times draws times rows evaluated at once: bounds the memory."""

LONG = 200_000
"""Rows beyond which their simulation is worth optimizing. CPU s with compilation, unoptimized and
lightly: 512,000
rows of counts with row effects 3.8 and 3.0, of negative binomials 5.6 and 4.8; 64,000 of Markov
chains 2.3 and 5.1."""

FEWEST = 20
"""Datasets below which nothing can be said of calibration."""

HEIGHTS = 30
"""Draws at which the model's joint density is evaluated, dearer than all else where rows are
integrated over: a rank
among few is as uniform as among many."""


class Measurements(NamedTuple):
    """T datasets of which the guide's draws are finite, their latents as they were (truth) and as
    the guide has them,
    in unconstrained space.

    Attributes:
        truth: (T, P).
        rows: rows of each dataset, (T,).
        mean, sd: of the guide's draws, (T, P).
        pit: probability that a draw lies below the truth, from its rank among S draws, (T, P).
        density: of draws less probable under the guide than the truth, the share, (T,).
        joint: of at most `HEIGHTS` draws less probable under the model's joint density than the
            truth, the share, (T,).
        tarp: of draws nearer than the truth to a reference point, the share, (T,).
        log_density: log q(truth | D), (T,).
        lost: rows of each dataset of which they are not, (L,).
    """

    truth: np.ndarray
    rows: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    pit: np.ndarray
    density: np.ndarray
    joint: np.ndarray
    tarp: np.ndarray
    log_density: np.ndarray
    lost: np.ndarray


def measure(
    guide: TrainedMethod, datasets: int, draws: int, seed: int, around: "Dataset | None" = None
) -> Measurements:
    """Simulates datasets as training did, or around an observed one, and reads the guide's
    posterior of each.

    Raises:
        DataError: too few datasets or draws; no rows can be added to the observed dataset; most
            simulations, or of the guide's answers, are not finite.
    """
    if datasets < FEWEST:
        raise DataError(
            f"datasets: expected at least {FEWEST} for anything to be seen, got {datasets}"
        )
    if draws < FEWEST:
        raise DataError(
            f"draws: expected at least {FEWEST}, since ranks are among the draws; got {draws}"
        )
    random = np.random.default_rng(seed)
    numbers = random.integers(
        2**32, size=(datasets + 1, 2), dtype=np.uint32
    )  # jr.split would be compiled
    key, keys = (jr.wrap_key_data(n, impl="threefry2x32") for n in (numbers[0], numbers[1:]))
    batches, truth, usable = (
        _fresh(guide, key, datasets)
        if around is None
        else _simulate_around(guide, key, datasets, around)
    )
    if np.mean(usable) < 0.5:
        raise DataError(
            f"diagnose: {np.sum(~usable)} of {len(usable)} simulated datasets are not finite; a "
            f"narrower prior, or a "
            "link that cannot overflow, is the usual cure"
        )
    ties = random.uniform(1e-6, 1.0, (datasets, truth.shape[1] + 3)).astype(np.float32)
    found = _measure(guide.method, batches, truth, ties, keys, draws)
    rows = np.asarray(batches.mask).sum(1)
    sound = np.isfinite(np.concatenate(found[:2], 1)).all(1)
    if np.mean(sound[usable]) < 0.5:
        raise DataError(
            f"diagnose: draws of {np.sum(~sound[usable])} of {np.sum(usable)} simulated datasets "
            f"are not finite: the "
            "guide answers for few of the datasets that its model makes; train it for longer"
        )
    values = (np.asarray(a, np.float64)[usable & sound] for a in (truth, rows, *found))
    return Measurements(*values, lost=rows[usable & ~sound])


def _fresh(guide: TrainedMethod, key: Array, datasets: int) -> tuple[Batch, Array, np.ndarray]:
    simulated = (
        jit_lightly(simulate)
        if datasets * (guide.task.rows or (1, 1))[1] > LONG
        else jit_unoptimized(simulate)
    )
    made = simulated(guide.task, key, parts(guide.task, datasets, 1, WHOLE), 0)
    return made.batches[0], made.target.latents, np.asarray(made.usable)


def _simulate_around(
    guide: TrainedMethod, key: Array, datasets: int, observed: "Dataset"
) -> tuple[Batch, Array, np.ndarray]:
    """The observed rows, and below them as many again predicted by a draw from their posterior."""
    task = guide.task
    if task.block or task.rows[0] == task.rows[1]:
        raise DataError(
            f"around: expected a task whose datasets may have more rows, got {task.name} with one "
            f"fixed size; "
            "posterior simulation-based calibration adds predicted rows to the observed ones"
        )
    vectors = jnp.asarray(
        draw(guide.method, [observed], datasets, int(jr.randint(key, (), 0, 2**31 - 1))).vectors[0]
    )
    keys, rows = jr.split(key, datasets), observed.rows
    data = {n: jnp.asarray(v) for n, v in observed.arrays.items()}

    def extended(key: Array, vector: Array) -> dict[str, Array]:
        predicted = task.predict(key, vector, {n: data[n] for n in task.inputs}, rows)
        return {
            n: jnp.concatenate([v, predicted.get(n, v).astype(v.dtype)]) for n, v in data.items()
        }

    both = run_once(jax.vmap(extended), keys, vectors)
    usable = np.all(
        [np.isfinite(np.asarray(v)).reshape(datasets, -1).all(1) for v in both.values()], 0
    )
    return Batch(both, jnp.ones((datasets, 2 * rows), bool)), vectors, usable


@jit_lightly
def _measure(
    method: Method,
    batches: Batch,
    truth: Float[Array, "T P"],
    ties: Float[Array, "T Q"],
    keys: Array,
    draws: int,
) -> tuple:
    """Fields of `Readings` from `mean` on."""
    reference, scale = jnp.roll(truth, 1, 0), jnp.std(truth, 0) + 1e-12
    at_once = WORK // (draws * batches.mask.shape[1])
    each = batches, truth, reference, ties, keys
    return batched_map(lambda a: _one(method, *a, scale, draws), each, at_once)


def _one(
    method: Method,
    batch: Batch,
    truth: Array,
    reference: Array,
    ties: Array,
    key: Array,
    scale: Array,
    draws: int,
) -> tuple:
    posterior = method.readout(final(method, batch))
    vectors, log_guide = posterior.sample(key, draws)
    at = posterior.log_prob(truth)
    joint = tarp = jnp.full((), jnp.nan)
    if method.task.has_density:
        unscaled = PriorScale(jnp.zeros_like(truth), jnp.ones_like(truth))
        height = Densities(method.task, unscaled, getattr(method, "gammas", False)).joint(batch)
        heights = jax.vmap(height)(jnp.vstack([truth, vectors[:HEIGHTS]]))
        joint = _below(heights[1:], heights[0], ties[-1])
    apart = jnp.sum(((vectors - reference) / scale) ** 2, 1)
    tarp = _below(apart, jnp.sum(((truth - reference) / scale) ** 2), ties[-2])
    level, density = _below(vectors, truth, ties[:-3]), _below(log_guide, at, ties[-3])
    return jnp.mean(vectors, 0), jnp.std(vectors, 0, ddof=1), level, density, joint, tarp, at


def _below(
    draws: Float[Array, "S *P"], value: Float[Array, "*P"], tie: Float[Array, "*P"]
) -> Float[Array, "*P"]:
    """(rank + U) / (S + 1): uniform on (0, 1) when the value is one more draw; U breaks ties
    evenly.
    """
    rank = jnp.sum(jnp.where(draws < value, 1.0, jnp.where(draws == value, tie, 0.0)), 0)
    return (rank + tie) / (draws.shape[0] + 1.0)
