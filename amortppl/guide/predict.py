"""Predictions of a guide in every regime, given a dataset, mini-batches, a state, or nothing."""

from typing import TYPE_CHECKING, Any

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.data.batches import Batches
from amortppl.data.columns import Columns
from amortppl.data.dataset import Dataset, read
from amortppl.data.several_groups import place_new_rows
from amortppl.data.stamps import expect_later
from amortppl.errors import DataError, GuideError
from amortppl.guide.queries import empty, follows, inputs, next_rows, rows_before
from amortppl.guide.trees import latent_tree, prediction_tree
from amortppl.method import Method, begin, final
from amortppl.posterior import group_predictions, padding, predictions
from amortppl.posterior.draws import draw
from amortppl.posterior.forecasts import forecast, forecast_densities
from amortppl.posterior.local_draws import LocalDraws
from amortppl.posterior.state import State, expect_own_guide
from amortppl.posterior.stream import stream
from amortppl.runtime.arguments import expect_draws
from amortppl.runtime.compilation import Compiled, jit_unoptimized
from amortppl.runtime.seeds import seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.trained import TrainedMethod
from amortppl.trust.examine import check_draws, join_notes

if TYPE_CHECKING:
    import xarray


def predict(
    guide: TrainedMethod,
    data: Any,
    at: Any,
    draws: int,
    seed: int,
    columns: Columns | None,
    steps: int | None = None,
) -> "xarray.DataTree":
    """Predictive draws at new inputs, or of the next rows; see `Guide.predict`."""
    expect_later(guide.task, data, at)
    new = next_rows(guide, place_new_rows(guide.task, data, at), steps, columns)
    expect_draws(draws, guide.task.latents.size + new.rows)
    if guide.method.predicts:
        state, notes = _state_of(guide, data, columns, new)
        padded = padding.pad(guide.task, new).data
        drawn = _sample(guide.method, state, padded, seed_key(seed), draws)
        values = {n: np.asarray(v)[:, : new.rows] for n, v in drawn.items()}
    elif follows(guide.task) and not empty(data):
        vectors, notes = _vectors(guide, data, columns, draws, seed)
        before, start = rows_before(guide, data, columns)
        future = {n: new.arrays[n] for n in guide.task.inputs}
        values = forecast(guide.task, vectors, before, future, new.rows, seed)
        return prediction_tree(guide, new, values, notes, seed, start)
    else:
        vectors, notes = _vectors(guide, data, columns, draws, seed)
        seen = _rows_for_joint(guide.task, data, columns)
        if guide.task.grouping:
            effects = _groups_seen(guide.task, vectors, data, columns, seed)
            values = group_predictions.predict_rows(guide.task, vectors, effects, new, seed)
        elif seen is None:
            values = predictions.predict(guide.method, vectors, new, seed)
        else:
            values = predictions.predict_new_rows(guide.task, vectors, seen, new, seed)
    return prediction_tree(guide, new, values, notes, seed)


def log_predictive(
    guide: TrainedMethod, data: Any, at: Any, draws: int, seed: int, columns: Columns | None
) -> np.ndarray:
    """Log predictive density of each new row (N,); see `Guide.log_predictive`."""
    expect_later(guide.task, data, at)
    new = read(guide.task, place_new_rows(guide.task, data, at), columns)
    expect_draws(draws, guide.task.latents.size + new.rows)
    if guide.method.predicts:
        state, _ = _state_of(guide, data, columns, new)
        padded = padding.pad(guide.task, new).data
        return np.asarray(_density(guide.method, state, padded))[: new.rows]
    vectors, _ = _vectors(guide, data, columns, draws, seed)
    seen = _rows_for_joint(guide.task, data, columns)
    if follows(guide.task) and not empty(data):
        before, _ = rows_before(guide, data, columns)
        rows = forecast_densities(guide.task, vectors, before, new, seed)
    elif guide.task.grouping:
        effects = _groups_seen(guide.task, vectors, data, columns, seed)
        rows = group_predictions.log_density_of_rows(guide.task, vectors, effects, new, seed)
    elif seen is None:
        rows = predictions.pointwise(guide.method, vectors, new)
    else:
        rows = predictions.pointwise_new_rows(guide.task, vectors, seen, new)
    return np.logaddexp.reduce(rows, 0) - np.log(len(rows))


def infer_latent(
    guide: TrainedMethod,
    data: Any,
    draws: int,
    seed: int,
    columns: Columns | None,
    **streaming: Any,
) -> "xarray.DataTree":
    """Draws of the task latent `z` of an explicit method.

    Raises:
        GuideError: the method has no latent to infer.
    """
    if not hasattr(guide.method, "latent"):
        raise GuideError(
            f"infer: {type(guide.spec).__name__} is of the {guide.method.regime} regime and keeps "
            "no posterior over latents; use guide.predict or guide.log_predictive, or train "
            "'parametric'"
        )
    many = data if isinstance(data, list | tuple) else [data]
    states = [_state_of(guide, d, columns, **streaming) for d in many]
    keys = split_key(seed_key(seed), len(states))
    z = [
        np.asarray(_latents(guide.method, state, key, draws))
        for (state, _), key in zip(states, keys, strict=True)
    ]
    several = len(states) > 1
    notes = [f"task {i}: {n}" if several else n for i, (_, own) in enumerate(states) for n in own]
    return latent_tree(guide, np.stack(z), notes, seed, single=many is not data)


def begin_at(guide: TrainedMethod, at: Any, columns: Columns | None) -> State:
    """The state before any row was seen; see `Guide.init`.

    Raises:
        GuideError: the method's states belong to queries, and none are given.
    """
    if not guide.method.queries_first:
        return State(guide, guide.method.init())
    if at is None:
        raise GuideError(
            f"init: a state of {type(guide.spec).__name__} belongs to its queries, expected their "
            "inputs and got none; begin with guide.init(at=...), or pass rows and queries to "
            "guide.predict together"
        )
    query = padding.pad_queries(guide.method, inputs(guide.task, at, columns))
    return State(guide, begin(guide.method, query))


def expect_same_queries(guide: TrainedMethod, state: State, query: dict[str, Array] | None) -> None:
    """Refuses to read a state out at other queries than it was begun with.

    Args:
        guide: the guide.
        state: a state of it.
        query: inputs of the queries, padded; None where the method's states serve any.

    Raises:
        GuideError: their number or their inputs differ.
    """
    if query is None:
        return
    own = state.value.queries
    if all(own[n].shape == query[n].shape and np.array_equal(own[n], query[n]) for n in query):
        return
    raise GuideError(
        f"at: this state of {type(guide.spec).__name__} belongs to the queries it was begun with, "
        "and these are others; queries cannot change between steps. Ask at the same ones, or begin "
        "with guide.init(at=...) and give the rows again"
    )


def _state_of(
    guide: TrainedMethod,
    data: Any,
    columns: Columns | None,
    new: Dataset | None = None,
    **streaming: Any,
) -> tuple[Any, list[str]]:
    """The method's state given the data, and notes on it.

    Args:
        new: the queries, for methods whose states belong to them.
    """
    query = None if new is None else padding.pad_queries(guide.method, new)
    if isinstance(data, State):
        expect_own_guide(guide, data)
        expect_same_queries(guide, data, query)
        return data.value, []
    if isinstance(data, Batches):
        options = {"every": np.iinfo(np.int64).max, "progress": False} | streaming
        begun = options.pop("state", None) or State(guide, begin(guide.method, query))
        *_, last = stream(guide, data, begun, **options)
        return last.value, []
    if streaming:
        option = next(iter(streaming))
        raise DataError(f"infer: {option!r} is for mini-batches; pass ap.batches(data) as the data")
    if empty(data):
        return begin(guide.method, query), []
    dataset = read(guide.task, data, columns)
    batch = padding.pad(guide.task, dataset)
    return _state(guide.method, batch, query), guide.notes([dataset])[0]


def _vectors(
    guide: TrainedMethod, data: Any, columns: Columns | None, draws: int, seed: int
) -> tuple[Array | np.ndarray, list[str]]:
    """Draws (S, P) of the unconstrained latents given the data, and notes on these."""
    if isinstance(data, State | Batches):
        state, notes = _state_of(guide, data, columns)
        unchecked = "the draws that predictions rest on: not checked, a state keeps no rows"
        return _draw_vectors(guide.method, state, seed_key(seed), draws), [*notes, unchecked]
    if empty(data):
        return _draw_prior(guide.task, seed_key(seed), draws), []
    dataset = read(guide.task, data, columns)
    drawn = draw(guide.method, [dataset], draws, seed)
    [notes] = join_notes(guide.notes([dataset]), check_draws(guide, [dataset], drawn))
    return drawn.vectors[0], notes


def _rows_for_joint(task: AbstractTask, data: Any, columns: Columns | None) -> Dataset | None:
    """The rows seen that new ones are tied to; None where new rows need the latents alone.

    Raises:
        DataError: the rows are not at hand.
    """
    if not task.tied or empty(data):
        return None
    if isinstance(data, State | Batches):
        raise DataError(
            f"data: new rows of {task.name} are tied to the known ones, which a "
            f"{type(data).__name__} does not keep; pass the rows themselves"
        )
    return read(task, data, columns)


def _groups_seen(
    task: AbstractTask, vectors: Any, data: Any, columns: Columns | None, seed: int
) -> tuple[Dataset, LocalDraws] | None:
    """A dataset of groups and draws of their effects; None where its rows are not at hand, so that
    all groups are new.
    """
    if empty(data) or isinstance(data, State | Batches):
        return None
    dataset = read(task, data, columns)
    effects = group_predictions.effects_of(task, vectors, dataset, seed)
    return None if effects is None else (dataset, effects)


@jit_unoptimized
def _draw_prior(task: AbstractTask, key: Array, draws: int) -> Array:
    """Latents of simulated tasks, (S, P)."""
    rows = (task.rows or (1, 1))[0]
    return jax.vmap(lambda k: task.simulate(k, rows).latents)(jr.split(key, draws))


@Compiled
def _state(method: Method, batch: Batch, query: dict[str, Array] | None) -> Any:
    return final(method, batch, 1, query)


@Compiled
def _density(method: Method, state: Any, data: dict[str, Array]) -> Array:
    return method.predictive(state, data).log_prob(data)


@Compiled
def _draw_vectors(method: Method, state: Any, key: Array, draws: int) -> Array:
    return method.readout(state).sample(key, draws)[0]


@Compiled
def _sample(
    method: Method, state: Any, query: dict[str, Array], key: Array, draws: int
) -> dict[str, Array]:
    return method.predictive(state, query).sample(key, draws)


@Compiled
def _latents(method: Method, state: Any, key: Array, draws: int) -> Array:
    return method.latent(state).sample(key, draws)[0]
