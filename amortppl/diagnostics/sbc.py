"""Simulates datasets and measures a guide's posterior of each, in one compiled call."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from amortppl.diagnostics.ranking import Posterior, rank_truth
from amortppl.errors import DataError
from amortppl.method import Method, final
from amortppl.posterior.draws import draw
from amortppl.runtime.arguments import expect_draws, expect_seed, expect_whole
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import jit_lightly, jit_unoptimized
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.simulate import WHOLE, parts, simulate
from amortppl.training.trained import TrainedMethod

if TYPE_CHECKING:
    from amortppl.data.dataset import Dataset

WORK = 2_000_000
"""Datasets times draws times rows evaluated at once, which bounds the memory."""

LONG = 200_000
"""Rows above which their simulation is compiled with light optimization.

CPU seconds with compilation, unoptimized and lightly optimized: 512,000 rows of counts with row
effects 3.8 and 3.0, of negative binomials 5.6 and 4.8; 64,000 rows of Markov chains 2.3 and 5.1."""

FEWEST = 20
"""The least number of datasets, and of draws, to measure calibration from."""


class Measurements(NamedTuple):
    """The guide's posteriors of T datasets beside the latents that made these, unconstrained.

    Datasets for which the guide's draws are not finite are left out.

    Attributes:
        truth: the latents that made each dataset, (T, P).
        rows: rows of each dataset, (T,).
        mean, sd: moments of the guide's draws, (T, P).
        pit: probability that a draw lies below the truth, from its rank among S draws, (T, P).
        density: share of draws less probable under the guide than the truth, (T,).
        joint: share, of at most `HEIGHTS` draws, less probable under the model's joint density than
            the truth, (T,).
        tarp: share of draws nearer than the truth to a reference point, (T,).
        log_density: log q(truth | D), (T,).
        lost: rows of each dataset that is left out, (L,).
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
    guide: TrainedMethod,
    datasets: int,
    draws: int,
    seed: int,
    around: "Dataset | None" = None,
    go_on: Callable[[int], bool] = lambda done: True,
) -> Measurements:
    """Simulates datasets as training did, or around an observed one, and measures the posteriors.

    Args:
        guide: the guide.
        datasets: T, at least `FEWEST`.
        draws: S for each dataset, at least `FEWEST`.
        seed: the seed of the simulations and the draws.
        around: an observed dataset.
        go_on: of a method whose draws cost a search (`Method.quick`) asked after each dataset,
            which are taken in random order: whether to take another.

    Raises:
        DataError: too few datasets or draws; no rows can be added to the observed dataset; most
            simulated datasets, or the guide's draws for most, are not finite.
    """
    refuse_few(datasets, draws)
    expect_draws(draws, guide.task.latents.size)
    expect_seed(seed)
    random = np.random.default_rng(seed % 2**64)
    # jr.split would be compiled.
    numbers = random.integers(2**32, size=(datasets + 1, 2), dtype=np.uint32)
    key, keys = (jr.wrap_key_data(n, impl="threefry2x32") for n in (numbers[0], numbers[1:]))
    if around is None:
        batches, truth, usable = _simulate(guide, key, datasets)
    else:
        batches, truth, usable = _simulate_around(guide, key, datasets, around)
    if np.mean(usable) < 0.5:
        raise DataError(
            f"diagnose: {np.sum(~usable)} of {len(usable)} simulated datasets are not finite; a "
            "narrower prior, or a link that cannot overflow, is the usual cure"
        )
    ties = random.uniform(1e-6, 1.0, (datasets, truth.shape[1] + 3)).astype(np.float32)
    truth = np.asarray(truth)
    scale = np.asarray(truth.std(0) + 1e-12, truth.dtype)
    each = (batches, truth, np.roll(truth, 1, 0), ties, keys)
    if guide.method.quick:
        measured = _measure(guide.method, each, scale, draws)
    else:
        order = random.permutation(datasets)
        measured = _measure_in_turn(guide.method, each, scale, draws, order, go_on)
        order = order[: len(measured[0])]
        batches, truth, usable = jax.tree.map(lambda a: a[order], (batches, truth, usable))
    rows = np.asarray(batches.mask).sum(1)
    finite = np.isfinite(np.concatenate(measured[:2], 1)).all(1)
    if np.mean(finite[usable]) < 0.5:
        raise DataError(
            f"diagnose: draws of {np.sum(~finite[usable])} of {np.sum(usable)} simulated datasets "
            "are not finite: the guide answers for few of the datasets that its model makes; train "
            "it for longer"
        )
    values = (np.asarray(a, np.float64)[usable & finite] for a in (truth, rows, *measured))
    return Measurements(*values, lost=rows[usable & ~finite])


def refuse_few(datasets: int, draws: int) -> None:
    """Refuses numbers of datasets and draws from which nothing can be seen.

    Raises:
        DataError: naming the argument.
    """
    for name, value in {"datasets": datasets, "draws": draws}.items():
        expect_whole(f"diagnose: {name}", value, 0)
    if datasets < FEWEST:
        raise DataError(
            f"datasets: expected at least {FEWEST} for anything to be seen, got {datasets}"
        )
    if draws < FEWEST:
        raise DataError(
            f"draws: expected at least {FEWEST}, since ranks are among the draws; got {draws}"
        )


_simulate_long, _simulate_short = jit_lightly(simulate), jit_unoptimized(simulate)


def _simulate(guide: TrainedMethod, key: Array, datasets: int) -> tuple[Batch, Array, np.ndarray]:
    """Datasets, their latents (T, P), and which of them are finite (T,)."""
    long = datasets * (guide.task.rows or (1, 1))[1] > LONG
    compiled = _simulate_long if long else _simulate_short
    tasks = compiled(guide.task, key, parts(guide.task, datasets, 1, WHOLE), 0)
    return tasks.batches[0], tasks.target.latents, np.asarray(tasks.usable)


def _simulate_around(
    guide: TrainedMethod, key: Array, datasets: int, observed: "Dataset"
) -> tuple[Batch, Array, np.ndarray]:
    """Datasets around an observed one, made by draws from its posterior."""
    expect_more_rows(guide.task)
    seed = int(jr.randint(key, (), 0, 2**31 - 1))
    vectors = jnp.asarray(draw(guide.method, [observed], datasets, seed).vectors[0])
    return extend_observed(guide.task, key, vectors, observed)


def expect_more_rows(task: AbstractTask) -> None:
    """Refuses tasks whose datasets have one size.

    Raises:
        DataError: saying so.
    """
    if task.block or task.rows[0] == task.rows[1]:
        raise DataError(
            f"around: expected a task whose datasets may have more rows, got {task.name} with one "
            "fixed size; posterior simulation-based calibration infers the observed rows together "
            "with as many predicted ones, for which one block has no place: write the model with "
            "rows, or leave `around` out"
        )


def extend_observed(
    task: AbstractTask, key: Array, vectors: Array, observed: "Dataset"
) -> tuple[Batch, Array, np.ndarray]:
    """The observed rows, and below them as many again predicted by each of T draws (T, P)."""
    datasets = len(vectors)
    keys, rows = jr.split(key, datasets), observed.rows
    data = {n: jnp.asarray(v) for n, v in observed.arrays.items()}
    both = _extend(task, keys, vectors, data)
    finite = [np.isfinite(np.asarray(v)).reshape(datasets, -1).all(1) for v in both.values()]
    return Batch(both, jnp.ones((datasets, 2 * rows), bool)), vectors, np.all(finite, 0)


@jit_unoptimized
def _extend(
    task: AbstractTask, keys: Array, vectors: Array, data: dict[str, Array]
) -> dict[str, Array]:
    """For each key and latents the rows, and below them as many predicted ones."""

    def one(key: Array, vector: Array) -> dict[str, Array]:
        rows = next(iter(data.values())).shape[0]
        predicted = task.replicate(key, vector, {n: data[n] for n in task.inputs}, rows)
        return {
            n: jnp.concatenate([v, predicted.get(n, v).astype(v.dtype)]) for n, v in data.items()
        }

    return jax.vmap(one)(keys, vectors)


def _measure_in_turn(
    method: Method,
    each: tuple,
    scale: np.ndarray,
    draws: int,
    order: np.ndarray,
    go_on: Callable[[int], bool],
) -> list[np.ndarray]:
    """`_measure` of one dataset after another, until all are done or `go_on` says no."""
    parts = []
    for place in order:
        one = jax.tree.map(lambda a, i=place: a[i : i + 1], each)
        parts.append(jax.tree.map(np.asarray, _measure(method, one, scale, draws)))
        if not go_on(len(parts)):
            break
    return [np.concatenate(a) for a in zip(*parts, strict=True)]


@jit_lightly
def _measure(method: Method, each: tuple, scale: Float[Array, " P"], draws: int) -> tuple:
    """Fields of `Measurements` from `mean` on.

    Args:
        each: of T datasets their rows, truth (T, P), a reference point (T, P), uniform numbers and
            keys.
    """
    mask, places = each[0].mask, method.task.places(each[0].data)
    at_once = WORK // (draws * mask.shape[1] * places) if method.quick else 1
    return batched_map(lambda a: _measure_one(method, *a, scale, draws), each, at_once)


def _measure_one(
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
    drawn = Posterior(vectors, jnp.ones(draws, bool), log_guide, posterior.log_prob(truth))
    gammas = getattr(method, "gammas", False)
    return rank_truth(method.task, batch, drawn, truth, reference, scale, ties, gammas)
