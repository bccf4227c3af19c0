"""JAX's gather and scatter in NumPy: windows of an array at places given by an array of indices."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Places = tuple[np.ndarray, ...]


def window_places(
    shape: Sequence[int],
    indices: np.ndarray,
    index_axes: Sequence[int],
    batching: Mapping[int, int],
    window: Mapping[int, int],
    clipped: bool,
) -> tuple[Places, np.ndarray]:
    """The places of windows in an array: for each of its axes an array (..., *window), and which
    windows (...) reach beyond it.

    Args:
        shape: of the array.
        indices: where windows begin, (..., K), K numbers each.
        index_axes: the axes that these numbers belong to.
        batching: axes shared with the indices, each with the axis of the indices.
        window: axes that a window spans, each with its length; windows are one wide elsewhere.
        clipped: whether windows that reach beyond the array are moved into it.
    """
    lead, kept = indices.shape[:-1], [*window]
    places, outside = [], np.zeros(lead, bool)
    for axis, length in enumerate(shape):
        start = np.zeros(lead, int)
        if axis in batching:
            along = [-1 if i == batching[axis] else 1 for i in range(len(lead))]
            start = start + np.arange(length).reshape(along)
        elif axis in index_axes:
            start = indices[..., index_axes.index(axis)].astype(int)
            last = length - window.get(axis, 1)
            outside |= (start < 0) | (start > last)
            start = np.clip(start, 0, last) if clipped else start
        along = [-1 if axis == other else 1 for other in kept]
        span = np.arange(window.get(axis, 1)).reshape(along) if axis in window else 0
        places.append(np.reshape(start, (*start.shape, *[1] * len(kept))) + span)
    return tuple(places), outside


def gather_rule(
    a: Any,
    indices: Any,
    dimension_numbers: Any,
    slice_sizes: Any,
    mode: Any,
    fill_value: Any,
    **_: Any,
) -> Any:
    """Slices of an array at the places in `indices` (along its last axis)."""
    numbers, lead = dimension_numbers, indices.ndim - 1
    batched = numbers.operand_batching_dims, numbers.start_indices_batching_dims
    batching = dict(zip(*batched, strict=True))
    left_out = (*numbers.collapsed_slice_dims, *batching)
    window = {d: slice_sizes[d] for d in range(a.ndim) if d not in left_out}
    at = (a.shape, indices, numbers.start_index_map, batching, window, True)
    places, outside = window_places(*at)
    gathered = a[places] if places else np.broadcast_to(a, indices.shape[:-1])
    if "FILL" in str(mode) and outside.any():
        wide = np.reshape(outside, (*outside.shape, *[1] * len(window)))
        gathered = np.where(wide, _fill(gathered, fill_value), gathered)
    return np.moveaxis(gathered, range(lead, gathered.ndim), numbers.offset_dims)


def _fill(gathered: np.ndarray, value: Any) -> Any:
    """What stands where a slice lies beyond the array."""
    if value is not None:
        return value
    if gathered.dtype.kind == "f":
        return np.nan
    return np.iinfo(gathered.dtype).min if gathered.dtype.kind == "i" else 0


def scatter_rule(combine: Callable[..., None]) -> Callable[..., Any]:
    """A rule that puts windows of updates into an array, as `combine(array, places, updates)`."""

    def rule(
        a: Any, indices: Any, updates: Any, dimension_numbers: Any, mode: Any, **_: Any
    ) -> Any:
        numbers, lead = dimension_numbers, indices.ndim - 1
        batched = numbers.operand_batching_dims, numbers.scatter_indices_batching_dims
        batching = dict(zip(*batched, strict=True))
        spans = [updates.shape[d] for d in numbers.update_window_dims]
        left_out = (*numbers.inserted_window_dims, *batching)
        kept = [d for d in range(a.ndim) if d not in left_out]
        window, clipped = dict(zip(kept, spans, strict=True)), "CLIP" in str(mode)
        of_axes = numbers.scatter_dims_to_operand_dims
        places, outside = window_places(a.shape, indices, of_axes, batching, window, clipped)
        moved = np.moveaxis(updates, numbers.update_window_dims, range(lead, updates.ndim))
        inside = np.ones(outside.shape, bool) if clipped else ~outside
        wide = np.reshape(inside, (*inside.shape, *[1] * len(window)))
        wanted = np.broadcast_to(wide, moved.shape)
        result = np.array(a)
        at = tuple(np.broadcast_to(p, moved.shape)[wanted] for p in places)
        combine(result, at, moved[wanted])
        return result

    return rule


def put(array: np.ndarray, places: Places, updates: np.ndarray) -> None:
    """Replaces entries."""
    array[places] = updates
