"""Predictions of a guide, the same in every regime: a dataset, mini-batches, a state, or nothing is
known.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import pandas as pd
from jaxtyping import Array

from amortppl.data.batches import Batches
from amortppl.data.columns import Columns
from amortppl.data.dataset import Dataset, read
from amortppl.errors import DataError, GuideError
from amortppl.guide.trees import latent_tree, prediction_tree
from amortppl.method import Method, final
from amortppl.posterior import padding, predictions
from amortppl.posterior.draws import draw
from amortppl.posterior.state import State
from amortppl.posterior.stream import stream
from amortppl.task.abstract import AbstractTask
from amortppl.training.trained import TrainedMethod

if TYPE_CHECKING:
    import xarray


def predict(
    guide: TrainedMethod,
    data: Any,
    at: Any,
    draws: int,
    seed: int,
    columns: Columns | None,
    **streaming: Any,
) -> "xarray.DataTree":
    """Predictive draws at new inputs; see `Guide.predict`."""
    if draws < 1:
        raise DataError(f"draws: expected at least 1, got {draws}")
    new = _inputs(guide.task, at, columns)
    if guide.method.predicts:
        state, notes = _state_of(guide, data, columns)
        padded = padding.pad(guide.task, new).data
        drawn = _sample(guide.method, state, padded, jr.key(seed), draws)
        values = {n: np.asarray(v)[:, : new.rows] for n, v in drawn.items()}
    else:
        vectors, notes = _vectors(guide, data, columns, draws, seed)
        known = _rows_for_joint(guide.task, data, columns)
        values = (
            predictions.predict(guide.method, vectors, new, seed)
            if known is None
            else predictions.predict_new_rows(guide.task, vectors, known, new, seed)
        )
    return prediction_tree(guide, new, values, notes, seed)


def log_predictive(
    guide: TrainedMethod, data: Any, at: Any, draws: int, seed: int, columns: Columns | None
) -> np.ndarray:
    """Log predictive density of each new row (N,); see `Guide.log_predictive`."""
    new = read(guide.task, at, columns)
    if guide.method.predicts:
        state, _ = _state_of(guide, data, columns)
        return np.asarray(_density(guide.method, state, padding.pad(guide.task, new).data))[
            : new.rows
        ]
    vectors, _ = _vectors(guide, data, columns, draws, seed)
    known = _rows_for_joint(guide.task, data, columns)
    rows = (
        predictions.pointwise(guide.method, vectors, new)
        if known is None
        else predictions.pointwise_new_rows(guide.task, vectors, known, new)
    )
    return np.logaddexp.reduce(rows, 0) - np.log(len(rows))


def _inputs(task: AbstractTask, at: Any, columns: Columns | None) -> Dataset:
    """New rows' inputs; a number of rows where the model has none."""
    if not task.inputs and isinstance(at, int):
        return Dataset({task.count or "row": np.zeros((at, 0))}, {})
    return read(task, at, columns, observed=False)


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
            f"no posterior over "
            "latents; use guide.predict or guide.log_predictive, or train 'parametric'"
        )
    many = data if isinstance(data, list | tuple) else [data]
    known = [_state_of(guide, d, columns, **streaming) for d in many]
    keys = jr.split(jr.key(seed), len(known))
    z = [
        np.asarray(_latents(guide.method, s, k, draws))
        for (s, _), k in zip(known, keys, strict=True)
    ]
    notes = [
        f"task {i}: {n}" if len(known) > 1 else n for i, (_, said) in enumerate(known) for n in said
    ]
    return latent_tree(guide, np.stack(z), notes, seed, single=many is not data)


def _state_of(
    guide: TrainedMethod, data: Any, columns: Columns | None, **streaming: Any
) -> tuple[Any, list[str]]:
    """The method's state given what is known, and notes on it."""
    if isinstance(data, State):
        return data.value, []
    if isinstance(data, Batches):
        options = {"every": np.iinfo(np.int64).max, "progress": False} | streaming
        *_, last = stream(guide, data, State(guide, guide.method.init()), **options)
        return last.value, []
    if streaming:
        raise DataError(
            f"infer: {next(iter(streaming))!r} is for mini-batches; pass ap.batches(data) as the "
            f"data"
        )
    if empty(data):
        return guide.method.init(), []
    dataset = read(guide.task, data, columns)
    return _state(guide.method, padding.pad(guide.task, dataset)), guide.notes([dataset])[0]


def _vectors(
    guide: TrainedMethod, data: Any, columns: Columns | None, draws: int, seed: int
) -> tuple[Array | np.ndarray, list[str]]:
    """Draws (S, P) of the latents' unconstrained vector given what is known, and notes on it."""
    if isinstance(data, State | Batches):
        state, notes = _state_of(guide, data, columns)
        return _draw_vectors(guide.method, state, jr.key(seed), draws), notes
    if empty(data):
        rows = (guide.task.rows or (1, 1))[0]
        return jax.vmap(lambda k: guide.task.simulate(k, rows).latents)(
            jr.split(jr.key(seed), draws)
        ), []
    dataset = read(guide.task, data, columns)
    return draw(guide.method, [dataset], draws, seed).vectors[0], guide.notes([dataset])[0]


def _rows_for_joint(task: AbstractTask, data: Any, columns: Columns | None) -> Dataset | None:
    """Known rows that new ones are tied to; None where new rows need the latents alone.

    Raises:
        DataError: the rows are not at hand.
    """
    if not task.tied or empty(data):
        return None
    if isinstance(data, State | Batches):
        raise DataError(
            f"data: new rows of {task.name} are tied to the known ones, which a "
            f"{type(data).__name__} does not keep; "
            "pass the rows themselves"
        )
    return read(task, data, columns)


def empty(data: Any) -> bool:
    """Whether a dataset is of zero rows: nothing is known but the prior."""
    if data is None or (isinstance(data, pd.DataFrame) and data.empty):
        return True
    return (
        isinstance(data, Mapping)
        and bool(data)
        and all(np.shape(v)[:1] == (0,) for v in data.values())
    )


_state = eqx.filter_jit(lambda method, batch: final(method, batch))
_density = eqx.filter_jit(lambda method, state, data: method.predictive(state, data).log_prob(data))
_draw_vectors = eqx.filter_jit(
    lambda method, state, key, draws: method.readout(state).sample(key, draws)[0]
)


@eqx.filter_jit
def _sample(
    method: Method, state: Any, query: dict[str, Array], key: Array, draws: int
) -> dict[str, Array]:
    return method.predictive(state, query).sample(key, draws)


@eqx.filter_jit
def _latents(method: Method, state: Any, key: Array, draws: int) -> Array:
    return method.latent(state).sample(key, draws)[0]
