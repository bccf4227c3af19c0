"""Does the engine's log joint equal the plain model's? Asked once, when a task is made, on
simulated data.

The engine runs a model on padded rows, cuts rows into mini-batches and takes the log likelihood
apart by row. Each of these is right only if log p(y_i | x_i, theta) depends on no other row. So the
engine's log prior, and its log likelihood of rows filled up with padding and of more rows in the
opposite order, are compared with what NumPyro says of the model itself (`amortppl.task.plain`), and
so are the model's own rows among themselves.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.errors import ModelError, quoted
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.runtime.seeds import fold_in, seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.plain import by_row
from amortppl.task.program import log_density, log_jacobian, unconstrain

TRIES = 3
"""Simulated tasks to look at until one has finite log densities."""

TOLERANCE = 1e-5
"""Of a sum of log densities, relative to the sum of their sizes."""

Sites = dict[str, Array]


class Point(NamedTuple):
    """Where densities are compared: unconstrained latents, those of each row by site, and rows of
    data.
    """

    vector: Array
    local: Sites
    data: dict[str, Array]


class Engine(NamedTuple):
    """The engine's log prior, and log likelihood (with the prior of local latents) of each row."""

    prior: Array
    rows: Array


class Found(NamedTuple):
    """The engine's densities of few rows with padding and of more rows turned round; the plain
    model's by site, of the
    few rows alone and of all turned round."""

    padded: Engine
    turned: Engine
    alone: Sites
    plain: Sites


def check(task: AbstractTask, few: int, more: int) -> None:
    """Compares the engine's densities with the plain model's at a simulated task.

    Args:
        few, more: two numbers of rows; equal where the number is fixed, and then nothing is padded
            or turned round.

    Raises:
        ModelError: they differ; it names the site and what makes the difference.
    """
    for number in range(TRIES):
        key = fold_in(seed_key(17), number)
        try:
            densities = evaluate(lambda k: _found(task, k, few, more), key)
        except ValueError as error:  # as NumPyro compares the shapes of values and densities
            sites = quoted([*task.observed.values()])
            raise ModelError(
                f"{task.name}: NumPyro cannot evaluate the model's log density at {few} or {more} "
                f"simulated rows ({error}). It is likely that something of a site {sites} (a "
                "mask, a scale, a censoring indicator) has rows along another axis"
            ) from error
        if all(np.isfinite(a).all() for a in jax.tree.leaves(densities)):
            _compare(task, key, densities, few)
            return


def _found(task: AbstractTask, key: Array, few: int, more: int) -> Found:
    point = simulated(task, key, more)
    if few == more:
        engine, plain = _engine(task, point), plain_sites(task, point)
        return Found(engine, engine, plain, plain)
    turned = point if task.ordered else taken(task, point, np.arange(more)[::-1])
    padded = taken(task, point, np.where(np.arange(more) < few, np.arange(more), 0))
    both = jax.vmap(lambda p: _engine(task, p))(
        jax.tree.map(lambda a, b: jnp.stack([a, b]), padded, turned)
    )
    first, second = (jax.tree.map(lambda a, i=i: a[i], both) for i in (0, 1))
    alone, plain = (plain_sites(task, p) for p in (taken(task, point, np.arange(few)), turned))
    return Found(first, second, alone, plain)


def simulated(task: AbstractTask, key: Array, rows: int) -> Point:
    """Latents and rows drawn from the model."""
    inputs = task.input_rows(jr.fold_in(key, 0), rows)
    trace = task.program.trace(jr.fold_in(key, 1), inputs, rows)
    local = {n: unconstrain(trace[n]) for n in task.local.sites}
    data = task.observe(jr.fold_in(key, 0), inputs | task.density.observations(trace))
    return Point(task.density.vector(trace), local, data)


def taken(task: AbstractTask, point: Point, places: np.ndarray) -> Point:
    """The rows at these places, with the same latents."""
    local = {
        n: jnp.take(u, places, task.local.unconstrained_axes[n] or 0)
        for n, u in point.local.items()
    }
    return Point(point.vector, local, {n: v[places] for n, v in point.data.items()})


def _engine(task: AbstractTask, point: Point) -> Engine:
    return Engine(
        *task.density.joint(point.vector, point.data, point.local, task.local.density_axes)
    )


def plain_sites(task: AbstractTask, point: Point) -> Sites:
    """What NumPyro says of each site: a number, or a vector over the rows where a site has rows."""
    latents = task.latents.unflatten(point.vector) | point.local
    density = task.plain.density(latents, point.data)
    return {
        n: _shaped(task, n, d + density.jacobians.get(n, 0.0)) for n, d in density.sites.items()
    }


def engine_sites(task: AbstractTask, point: Point) -> Sites:
    """What the engine adds up, by site, in the same shapes."""
    trace, latents = (
        task.trace_at(point.vector, point.data, point.local),
        task.latents.unflatten(point.vector),
    )
    sites = {n: task.density.by_row(n, trace[n]) for n in task.observed.values()}
    for name, u in (latents | point.local).items():
        sites[name] = _shaped(task, name, log_density(trace[name]) + log_jacobian(trace[name], u))
    return sites


def _shaped(task: AbstractTask, name: str, density: Array) -> Array:
    axis = task.row_axes.get(name) if name in task.row_axes else task.local.density_axes.get(name)
    return (
        jnp.sum(density)
        if axis is None or task.block or name in task.tied
        else by_row(density, axis)
    )


def _compare(task: AbstractTask, key: Array, densities: Found, few: int) -> None:
    prior, rows = split_sites(task, densities.plain)
    if differ(densities.turned.prior, _sum(prior), prior) or differ(
        densities.turned.rows.sum(), _sum(rows), rows
    ):
        raise ModelError(_unlike(task, key, densities.plain))
    if not task.row_free:
        return
    for name in (n for n in rows if n not in task.tied):
        again = densities.plain[name][:: 1 if task.ordered else -1][:few]
        if any(
            differ(a, b, {name: densities.alone[name]})
            for a, b in zip(densities.alone[name], again, strict=True)
        ):
            _refuse_coupled(task, key, name, few)
            return
    prior, rows = split_sites(task, densities.alone)
    if differ(densities.padded.prior, _sum(prior), prior):
        names = [n for n in prior if differ(prior[n], densities.plain[n], prior)]
        raise ModelError(
            f"{task.name}: the prior of {quoted(names)} changes with the number of rows, or with "
            f"their inputs. "
            f"{_REMEDY}"
        )
    if differ(densities.padded.rows[:few].sum(), _sum(rows), rows):
        raise ModelError(
            f"{task.name}: rows added behind the data change the log density of {quoted(rows)}. "
            f"{_REMEDY}"
        )


def split_sites(task: AbstractTask, sites: Sites) -> tuple[Sites, Sites]:
    """(Prior, rows): latents that all rows share, and what has rows.

    Sites that are data even in a simulation are neither.
    """
    own = [*task.observed.values(), *task.local.sites]
    kept = {n: v for n, v in sites.items() if n not in (*task.fixed, *task.twins.values())}
    return {n: v for n, v in kept.items() if n not in own}, {
        n: v for n, v in kept.items() if n in own
    }


def _sum(sites: Sites) -> float:
    return float(sum(np.sum(v) for v in sites.values()))


def differ(engine: float, plain: float, terms: Sites) -> bool:
    """Whether two sums differ by more than rounding. Both are float64; a primitive that JAX ran is
    right to 10^-6.
    """
    size = sum((np.sum(np.abs(v)) for v in terms.values()), 1.0)
    return not abs(engine - plain) <= TOLERANCE * size


_REMEDY = (
    "Datasets are padded and cut into mini-batches, so each row's density must depend on its own "
    "row and the latents "
    "alone: pass what is computed from all rows (a mean, a standardised or lagged column, the "
    "number of rows) as an "
    "input of its own, or say rows=None if the data are one block of fixed size"
)


def _unlike(task: AbstractTask, key: Array, plain: Sites) -> str:
    """The site whose density differs, by a second look."""
    few, more = task.probe_rows
    point = jax.tree.map(_as_jax, evaluate(lambda k: simulated(task, k, more), key))
    turn = few != more and not task.ordered
    point = taken(task, point, np.arange(more)[::-1]) if turn else point
    ours = evaluate(lambda p: engine_sites(task, p), point)
    kept = [n for n in plain if n not in task.fixed]
    wrong = [
        n for n in kept if differ(_sum({n: ours.get(n, np.zeros(()))}), _sum({n: plain[n]}), plain)
    ]
    name = next(iter(wrong or kept))
    model, engine = (
        f"{_sum({name: sites.get(name, np.zeros(()))}):.6g}" for sites in (plain, ours)
    )
    return (
        f"{task.name}: the engine's log density is not the model's. At simulated data that of the "
        f"site {name!r} is "
        f"{model} in the model, {engine} in the engine. It is likely that the site depends on "
        f"something other than its "
        "arguments and the latents before it"
    )


def _as_jax(array: np.ndarray) -> Array:
    return jnp.asarray(array)


def _refuse_coupled(task: AbstractTask, key: Array, name: str, few: int) -> None:
    """Refuses rows that look at one another, unless each looks at earlier observations and at none
    that comes later: they are then the steps of a series, and the task says so.

    Raises:
        ModelError: naming what couples the rows.
    """
    guilty, message = _coupled(task, key, name, few)
    if task.may_be_ordered and set(guilty) & set(task.observed):
        task.ordered, task.may_be_ordered = True, False
        try:
            return check(task, *task.probe_rows)
        except ModelError:
            task.ordered = False
    elif task.may_be_ordered and not guilty:
        message += (
            ". If rows are times in their order (an index of time, a differential equation that is "
            "solved row after row), say ordered=True"
        )
    raise ModelError(message)


def _coupled(task: AbstractTask, key: Array, name: str, few: int) -> tuple[list[str], str]:
    """Which arguments couple the rows, by changing a row of one at a time; and in words."""
    if task.ordered:
        return [], (
            f"{task.name}: the log density of a row of the site {name!r} changes with rows that "
            "come later, or with their number, so the rows are not the steps of a series, each "
            "given those before it. Let each row look at earlier rows alone (no mean of all rows, "
            "no centred column), or say rows=None if the data are one block of fixed size"
        )
    point = jax.tree.map(_as_jax, evaluate(lambda k: simulated(task, k, few), key))
    before = evaluate(lambda p: plain_sites(task, p), point)[name]
    other = jax.tree.map(_as_jax, evaluate(lambda k: simulated(task, k, few), jr.fold_in(key, 1)))
    guilty, rows = [], []
    for argument, values in point.data.items():
        changed = values.at[0].set(other.data[argument][0])
        after = evaluate(
            lambda p: plain_sites(task, p), point._replace(data=point.data | {argument: changed})
        )[name]
        moved = [i for i in range(1, few) if differ(after[i], before[i], {name: before})]
        guilty += [argument] if moved else []
        rows += moved
    cause = (
        f"changing row 0 of {quoted(guilty)} changes the log density of row {min(rows)} of the "
        f"site {name!r}"
        if guilty
        else f"the log density of a row of the site {name!r} changes with the order or the number "
        f"of rows"
    )
    return (
        guilty,
        f"{task.name}: the rows are not independent given the latents: {cause}. {_REMEDY}",
    )
