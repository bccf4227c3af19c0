"""What JAX's primitives compute, in NumPy: those that NumPy has no function for."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import linalg

Rule = Callable[..., Any]


def elementwise_rule(function: Rule) -> Rule:
    return lambda *given, **_: function(*given)


def divide_rule(a: Any, b: Any) -> Any:
    if np.asarray(a).dtype.kind == "f":
        return a / b
    return np.where(b == 0, -1, np.trunc(a / np.where(b == 0, 1, b)))


def round_rule(a: Any, rounding_method: Any = 0, **_: Any) -> Any:
    return np.round(a) if int(rounding_method) == 1 else np.sign(a) * np.floor(np.abs(a) + 0.5)


def reduce_rule(function: Rule) -> Rule:
    return lambda a, axes, **_: function(a, axis=tuple(axes))


def argument_rule(function: Rule) -> Rule:
    return lambda a, axes, **_: function(a, axis=axes[0])


def cumulative_rule(function: Rule) -> Rule:
    def rule(a: Any, axis: int, reverse: bool = False, **_: Any) -> Any:
        return np.flip(function(np.flip(a, axis), axis), axis) if reverse else function(a, axis)

    return rule


def broadcast_rule(
    a: Any, *_: Any, shape: Sequence[int], broadcast_dimensions: Sequence[int], **__: Any
) -> Any:
    wide = [1] * len(shape)
    for axis, place in enumerate(broadcast_dimensions):
        wide[place] = a.shape[axis]
    return np.broadcast_to(np.reshape(a, wide), shape)


def iota_rule(*_: Any, shape: Sequence[int], dimension: int, **__: Any) -> Any:
    wide = [1] * len(shape)
    wide[dimension] = shape[dimension]
    return np.broadcast_to(np.arange(shape[dimension]).reshape(wide), shape)


def slice_rule(
    a: Any, start_indices: Any, limit_indices: Any, strides: Any = None, **_: Any
) -> Any:
    steps = strides or [1] * a.ndim
    return a[tuple(slice(*each) for each in zip(start_indices, limit_indices, steps, strict=True))]


def starts_rule(a: Any, starts: Sequence[Any], sizes: Sequence[int]) -> tuple[slice, ...]:
    first = [int(np.clip(s, 0, n - k)) for s, n, k in zip(starts, a.shape, sizes, strict=True)]
    return tuple(slice(s, s + k) for s, k in zip(first, sizes, strict=True))


def dynamic_slice_rule(a: Any, *starts: Any, slice_sizes: Sequence[int], **_: Any) -> Any:
    return a[starts_rule(a, starts, slice_sizes)]


def dynamic_update_slice_rule(a: Any, update: Any, *starts: Any, **_: Any) -> Any:
    found = np.array(a)
    found[starts_rule(a, starts, update.shape)] = update
    return found


def pad_rule(a: Any, value: Any, padding_config: Any, **_: Any) -> Any:
    if any(inside or min(low, high) < 0 for low, high, inside in padding_config):
        raise NotImplementedError("negative or interior padding")
    return np.pad(a, [(low, high) for low, high, _ in padding_config], constant_values=value)


def dot_general_rule(a: Any, b: Any, dimension_numbers: Any, **_: Any) -> Any:
    (left, right), (batch_left, batch_right) = dimension_numbers
    letters = "abcdefghijklmnopqrstuvwxyz"
    one, two = list(letters[: a.ndim]), list(letters[a.ndim : a.ndim + b.ndim])
    for i, j in [*zip(left, right, strict=True), *zip(batch_left, batch_right, strict=True)]:
        two[j] = one[i]
    batch = [one[i] for i in batch_left]
    rest = [c for i, c in enumerate(one) if i not in (*left, *batch_left)]
    rest += [c for i, c in enumerate(two) if i not in (*right, *batch_right)]
    return np.einsum(f"{''.join(one)},{''.join(two)}->{''.join(batch + rest)}", a, b)


def select_rule(which: Any, *cases: Any, **_: Any) -> Any:
    return (
        np.choose(np.broadcast_to(which, cases[0].shape).astype(int), cases)
        if len(cases) > 2
        else np.where(which, cases[1], cases[0])
    )


def gather_rule(
    a: Any,
    indices: Any,
    dimension_numbers: Any,
    slice_sizes: Any,
    mode: Any,
    fill_value: Any,
    **_: Any,
) -> Any:
    """Slices of an array at the places that `indices` (their last axis) say."""
    numbers, lead = dimension_numbers, indices.ndim - 1
    batching = dict(
        zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    )
    kept = [d for d in range(a.ndim) if d not in (*numbers.collapsed_slice_dims, *batching)]
    places, outside = [], np.zeros(indices.shape[:-1], bool)
    for d in range(a.ndim):
        start = np.zeros(indices.shape[:-1], int)
        if d in batching:
            start = start + np.arange(a.shape[d]).reshape(
                [-1 if i == batching[d] else 1 for i in range(lead)]
            )
        elif d in numbers.start_index_map:
            start = indices[..., numbers.start_index_map.index(d)].astype(int)
            outside |= (start < 0) | (start > a.shape[d] - slice_sizes[d])
            start = np.clip(start, 0, a.shape[d] - slice_sizes[d])
        along = [1] * len(kept)
        if d in kept:
            along[kept.index(d)] = slice_sizes[d]
        span = (
            np.arange(slice_sizes[d]).reshape(along)
            if d in kept
            else np.zeros([1] * len(kept), int)
        )
        places.append(np.reshape(start, (*start.shape, *[1] * len(kept))) + span)
    found = a[tuple(places)] if places else np.broadcast_to(a, indices.shape[:-1])
    if "FILL" in str(mode) and outside.any():
        empty = np.nan if found.dtype.kind == "f" and fill_value is None else fill_value
        empty = (
            empty
            if empty is not None
            else (np.iinfo(found.dtype).min if found.dtype.kind == "i" else 0)
        )
        found = np.where(np.reshape(outside, (*outside.shape, *[1] * len(kept))), empty, found)
    return np.moveaxis(found, range(lead, found.ndim), numbers.offset_dims)


def sort_rule(*given: Any, dimension: int, num_keys: int, **_: Any) -> Sequence[Any]:
    if num_keys != 1:
        raise NotImplementedError("a sort by several keys")
    order = np.argsort(given[0], dimension, kind="stable")
    return [np.take_along_axis(g, order, dimension) for g in given]


def batched_rule(function: Rule, *given: Any) -> Any:
    lead = given[0].shape[:-2]
    flat = [g.reshape(-1, *g.shape[-2:]) for g in given]
    return np.stack([function(*each) for each in zip(*flat, strict=True)]).reshape(
        (*lead, *given[-1].shape[-2:])
    )


def cholesky_rule(a: Any, **_: Any) -> Any:
    def one(matrix: Any) -> Any:
        try:
            return np.linalg.cholesky((matrix + matrix.T) / 2)
        except np.linalg.LinAlgError:
            return np.full_like(matrix, np.nan)

    return batched_rule(one, a)


def triangular_solve_rule(
    a: Any,
    b: Any,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> Any:
    def one(a: Any, b: Any) -> Any:
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return np.full_like(b, np.nan)
        trans, right = (transpose_a, b) if left_side else (not transpose_a, b.T)
        found = linalg.solve_triangular(
            a, right, trans=int(trans), lower=lower, unit_diagonal=unit_diagonal
        )
        return found if left_side else found.T

    return batched_rule(one, a, b)


def split_rule(a: Any, sizes: Sequence[int], axis: int, **_: Any) -> Sequence[Any]:
    return np.split(a, np.cumsum(sizes)[:-1], axis)


def bitcast_rule(a: Any, new_dtype: Any, **_: Any) -> Any:
    narrow = np.asarray(a, np.float32) if np.asarray(a).dtype.kind == "f" else np.asarray(a)
    found = narrow.view(new_dtype)
    return found.astype(np.float64) if found.dtype.kind == "f" else found


def polynomial_rule(x: Any, *coefficients: Any, **_: Any) -> Any:
    found = np.zeros_like(x)
    for each in coefficients[::-1]:
        found = found * x + each
    return found


def unstack_rule(a: Any, axis: int, **_: Any) -> Sequence[Any]:
    return list(np.moveaxis(a, axis, 0))


def eigh_rule(a: Any, **_: Any) -> Sequence[Any]:
    if not np.isfinite(a).all():
        return [np.full_like(a, np.nan), np.full_like(a[..., 0], np.nan)]
    values, vectors = np.linalg.eigh(a)
    return [vectors, values]


def platform_rule(platforms: Sequence[Any], **_: Any) -> Any:
    return next(i for i, names in enumerate(platforms) if names is None or "cpu" in names)


def logsumexp_rule(a: Any, axis: int) -> Any:
    return np.logaddexp.accumulate(a, axis)


# Random numbers: others than JAX's. A key is one number of 64 bits, so that arrays of keys have
# their own shape.


def generator_rule(key: Any, number: int = 0) -> np.random.Generator:
    return np.random.default_rng([int(key), number])


def fresh_rule(key: Any, number: int, shape: Sequence[int] = ()) -> Any:
    return generator_rule(key, number).integers(0, 2**64, shape, dtype=np.uint64)


def each_key_rule(function: Rule, keys: Any, *more: Any) -> Any:
    found = [
        np.asarray(function(k, *m))
        for k, *m in zip(*(b.ravel() for b in np.broadcast_arrays(keys, *more)), strict=True)
    ]
    lead = np.broadcast_shapes(*(np.shape(a) for a in (keys, *more)))
    return np.stack(found).reshape((*lead, *found[0].shape))


def random_bits_rule(keys: Any, bit_width: int, shape: Sequence[int], **_: Any) -> Any:
    kind = np.dtype(f"uint{bit_width}")
    return each_key_rule(
        lambda k: generator_rule(k).integers(0, 2**bit_width, shape, dtype=kind), keys
    )


def random_gamma_rule(keys: Any, alpha: Any, log_space: bool = False, **_: Any) -> Any:
    keys = np.broadcast_to(keys.reshape(keys.shape + (1,) * (alpha.ndim - keys.ndim)), alpha.shape)
    places = np.arange(alpha.size).reshape(alpha.shape)
    drawn = each_key_rule(lambda k, i, a: generator_rule(k, int(i)).gamma(a), keys, places, alpha)
    return np.log(drawn) if log_space else drawn


def wrapped_rule(pairs: Any, **_: Any) -> Any:
    return pairs[..., 0].astype(np.uint64) << np.uint64(32) | pairs[..., 1].astype(np.uint64)


def unwrapped_rule(keys: Any, **_: Any) -> Any:
    return np.stack([keys >> np.uint64(32), keys & np.uint64(2**32 - 1)], -1).astype(np.uint32)
