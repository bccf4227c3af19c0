"""Are latents integrated and summed out as the plain model's density says? Asked once, when a task
is made, of rows that are filled up with padding and of more rows in the opposite order.
"""

import jax
import jax.numpy as jnp
import numpy as np

from amortppl.errors import ModelError, quoted
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.runtime.seeds import fold_in, seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.judged import Judged
from amortppl.task.lattice import LATTICE
from amortppl.task.parity import TOLERANCE, TRIES, Engine, Point, simulated, taken

INTEGRAL, LAPLACE = 1e-2, 0.5
"""Nats of a row by which an integral may be off: by product quadrature, whose own errors are a
tenth of it, and by Laplace's approximation, which was warned of.
"""


def check_marginal(task: AbstractTask) -> None:
    """Compares the engine's log density of a simulated task with the judge's.

    Raises:
        ModelError: they differ.
    """
    if task.judge.reason or not (task.local or task.judge.tables):
        return
    few, more = task.probe_rows
    for number in range(TRIES):
        key = fold_in(seed_key(17), number)
        point = jax.tree.map(jnp.asarray, evaluate(lambda k: simulated(task, k, more), key))
        ways = {"": (np.arange(1 if task.block else more), more)}
        if few != more:
            ways["padded "] = np.where(np.arange(more) < few, np.arange(more), 0), few
            ways[""] = np.arange(more)[:: 1 if task.ordered else -1], more
        points = [taken(task, point, places) for places, _ in ways.values()]
        stacked = jax.tree.map(lambda *a: jnp.stack(a), *points)
        prior, own = evaluate(jax.vmap(lambda p: task.log_densities(p.vector, p.data)), stacked)
        engines = [Engine(p, o) for p, o in zip(prior, own, strict=True)]
        fine = [
            _compare(task, how, engine, at, rows)
            for engine, at, (how, (_, rows)) in zip(engines, points, ways.items(), strict=True)
        ]
        if all(fine):
            return


def _compare(task: AbstractTask, how: str, engine: Engine, point: Point, rows: int) -> bool:
    """Whether all was finite.

    Raises:
        ModelError: the engine's density of some of the first rows is not the judge's.
    """
    own = engine.rows[:rows]
    data = {n: np.asarray(v)[None, :rows] for n, v in point.data.items()}
    judged = task.judge.log_densities(np.asarray(point.vector)[None], data)
    if not all(np.isfinite(a).all() for a in (engine.prior, own, *judged)):
        return False
    size = np.abs(judged.rows[0]) + abs(judged.prior[0]) + 1.0
    allowed = TOLERANCE * size + judged.error[0]
    if task.local:
        allowed = allowed + (INTEGRAL if task.local.size in LATTICE else LAPLACE)
    own, rows = (own, judged.rows[0]) if not task.local.in_turn else _totals(own, judged)
    off = np.abs(own - rows)
    if abs(engine.prior - judged.prior[0]) > TOLERANCE * size.sum() or (off > allowed).any():
        raise ModelError(_message(task, how, float(engine.prior), own, judged))
    return True


def _totals(own: np.ndarray, judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Of a path, whose judge says nothing of single rows: both log likelihoods, shared evenly."""
    even = np.full(own.shape, 1.0 / len(own))
    return own.sum() * even, judged.rows[0].sum() * even


def _message(task: AbstractTask, how: str, prior: float, own: np.ndarray, judged: Judged) -> str:
    gone = [*task.local.sites] + ([*task.judge.layout.hidden] if task.judge.tables else [])
    engine, model = prior + own.sum(), judged.prior[0] + judged.rows[0].sum()
    return (
        f"{task.name}: with {quoted(gone)} taken out the engine's log joint of {len(own)} "
        f"simulated {how}rows is {engine:.6g}; the model's, integrated and summed apart from the "
        f"engine, is {model:.6g}. It is likely that {_likely(task, own - judged.rows[0])}"
    )


def _likely(task: AbstractTask, off: np.ndarray) -> str:
    """The cause: where no latent is discrete, densities before the integral were found equal."""
    elsewhere = (
        "a site depends on something other than its arguments and the latents before it, or that "
        "rows depend on one another"
    )
    if not task.local:
        return elsewhere
    worst = int(np.argmax(np.nan_to_num(np.abs(off), nan=np.inf)))
    edge = (
        f"quadrature about the mode does not take the integral over {quoted(task.local.sites)} "
        f"(off by {off[worst]:.2g} nats in one row): the density of a row has an edge or a kink in "
        "it (Uniform or truncated distributions, a clip, an absolute value), or several modes. "
        "Write the site with a smooth density, or with the integral taken by hand"
    )
    return f"{edge}; or that {elsewhere}" if task.judge.tables else edge
