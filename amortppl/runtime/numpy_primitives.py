"""What JAX's primitives compute, in NumPy: those that NumPy has no function for."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import linalg

Rule = Callable[..., Any]


def elementwise_rule(function: Rule) -> Rule:
    """A NumPy function of arrays, entry by entry; a primitive's parameters are ignored."""
    return lambda *given, **_: function(*given)


def divide_rule(a: Any, b: Any) -> Any:
    """a / b; of integers the quotient rounded towards zero, and -1 where b is 0, as in XLA."""
    if np.asarray(a).dtype.kind == "f":
        return a / b
    return np.where(b == 0, -1, np.trunc(a / np.where(b == 0, 1, b)))


def round_rule(a: Any, rounding_method: Any = 0, **_: Any) -> Any:
    """The nearest whole number: ties to even (method 1), else away from zero."""
    return np.round(a) if int(rounding_method) == 1 else np.sign(a) * np.floor(np.abs(a) + 0.5)


def reduce_rule(function: Rule) -> Rule:
    """A NumPy reduction over several axes."""
    return lambda a, axes, **_: function(a, axis=tuple(axes))


def argument_rule(function: Rule) -> Rule:
    """`np.argmax` or `np.argmin` along one axis."""
    return lambda a, axes, **_: function(a, axis=axes[0])


def cumulative_rule(function: Rule) -> Rule:
    """A cumulative sum, product or extreme along an axis, from its end if `reverse`."""

    def rule(a: Any, axis: int, reverse: bool = False, **_: Any) -> Any:
        return np.flip(function(np.flip(a, axis), axis), axis) if reverse else function(a, axis)

    return rule


def broadcast_rule(
    a: Any, *_: Any, shape: Sequence[int], broadcast_dimensions: Sequence[int], **__: Any
) -> Any:
    """`a` with its axes at `broadcast_dimensions` of `shape`, repeated along the others."""
    wide = [1] * len(shape)
    for axis, place in enumerate(broadcast_dimensions):
        wide[place] = a.shape[axis]
    return np.broadcast_to(np.reshape(a, wide), shape)


def iota_rule(*_: Any, shape: Sequence[int], dimension: int, **__: Any) -> Any:
    """0, 1, 2, ... along one axis of an array of `shape`."""
    wide = [1] * len(shape)
    wide[dimension] = shape[dimension]
    return np.broadcast_to(np.arange(shape[dimension]).reshape(wide), shape)


def slice_rule(
    a: Any, start_indices: Any, limit_indices: Any, strides: Any = None, **_: Any
) -> Any:
    """A slice with fixed bounds and strides."""
    steps = strides or [1] * a.ndim
    return a[tuple(slice(*each) for each in zip(start_indices, limit_indices, steps, strict=True))]


def starts_rule(a: Any, starts: Sequence[Any], sizes: Sequence[int]) -> tuple[slice, ...]:
    """Slices of `sizes` from `starts`, which are moved into the array as XLA moves them."""
    first = [int(np.clip(s, 0, n - k)) for s, n, k in zip(starts, a.shape, sizes, strict=True)]
    return tuple(slice(s, s + k) for s, k in zip(first, sizes, strict=True))


def dynamic_slice_rule(a: Any, *starts: Any, slice_sizes: Sequence[int], **_: Any) -> Any:
    """A slice whose starts are values."""
    return a[starts_rule(a, starts, slice_sizes)]


def dynamic_update_slice_rule(a: Any, update: Any, *starts: Any, **_: Any) -> Any:
    """`a` with `update` in the slice that begins at `starts`."""
    updated = np.array(a)
    updated[starts_rule(a, starts, update.shape)] = update
    return updated


def pad_rule(a: Any, value: Any, padding_config: Any, **_: Any) -> Any:
    """`a` with a margin of `value`, cut where a margin is negative.

    Raises:
        NotImplementedError: interior padding.
    """
    if any(
        inside for (_, _, inside), size in zip(padding_config, a.shape, strict=True) if size > 1
    ):
        raise NotImplementedError("interior padding")
    margins = [(max(low, 0), max(high, 0)) for low, high, _ in padding_config]
    padded = np.pad(a, margins, constant_values=value)
    ends = [
        (max(-low, 0), size - max(-high, 0))
        for (low, high, _), size in zip(padding_config, padded.shape, strict=True)
    ]
    return padded[tuple(slice(*end) for end in ends)]


def dot_general_rule(a: Any, b: Any, dimension_numbers: Any, **_: Any) -> Any:
    """Sums of products over the contracted axes: batch axes first, then the rest of a and b."""
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
    """Entries of `cases`, each from the case whose number `which` holds."""
    return (
        np.choose(np.broadcast_to(which, cases[0].shape).astype(int), cases)
        if len(cases) > 2
        else np.where(which, cases[1], cases[0])
    )


def sort_rule(*given: Any, dimension: int, num_keys: int, **_: Any) -> Sequence[Any]:
    """Arrays in the order of the first of them along an axis; equal entries stay in order.

    Raises:
        NotImplementedError: a sort by several keys.
    """
    if num_keys != 1:
        raise NotImplementedError("a sort by several keys")
    order = np.argsort(given[0], dimension, kind="stable")
    return [np.take_along_axis(g, order, dimension) for g in given]


def batched_rule(function: Rule, *given: Any) -> Any:
    """A function of matrices, over all leading axes."""
    lead = given[0].shape[:-2]
    flat = [g.reshape(-1, *g.shape[-2:]) for g in given]
    return np.stack([function(*each) for each in zip(*flat, strict=True)]).reshape(
        (*lead, *given[-1].shape[-2:])
    )


def cholesky_rule(a: Any, **_: Any) -> Any:
    """Lower Cholesky factors; NaN where a matrix is not positive definite."""

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
    """Solutions x of op(a) x = b, or of x op(a) = b unless `left_side`; NaN where not finite."""

    def one(a: Any, b: Any) -> Any:
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return np.full_like(b, np.nan)
        trans, right = (transpose_a, b) if left_side else (not transpose_a, b.T)
        solution = linalg.solve_triangular(
            a, right, trans=int(trans), lower=lower, unit_diagonal=unit_diagonal
        )
        return solution if left_side else solution.T

    return batched_rule(one, a, b)


def split_rule(a: Any, sizes: Sequence[int], axis: int, **_: Any) -> Sequence[Any]:
    """Parts of `sizes` along an axis."""
    return np.split(a, np.cumsum(sizes)[:-1], axis)


def bitcast_rule(a: Any, new_dtype: Any, **_: Any) -> Any:
    """The bits of `a` as another type; floats are of 32 bits in JAX and of 64 here."""
    narrow = np.asarray(a, np.float32) if np.asarray(a).dtype.kind == "f" else np.asarray(a)
    values = narrow.view(new_dtype)
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def polynomial_rule(x: Any, *coefficients: Any, **_: Any) -> Any:
    """sum_i coefficients[i] x^i, by Horner's rule."""
    value = np.zeros_like(x)
    for each in coefficients[::-1]:
        value = value * x + each
    return value


def unstack_rule(a: Any, axis: int, **_: Any) -> Sequence[Any]:
    """The slices along an axis."""
    return list(np.moveaxis(a, axis, 0))


def eigh_rule(a: Any, **_: Any) -> Sequence[Any]:
    """Eigenvectors and eigenvalues of symmetric matrices; NaN where one is not finite."""
    if not np.isfinite(a).all():
        return [np.full_like(a, np.nan), np.full_like(a[..., 0], np.nan)]
    values, vectors = np.linalg.eigh(a)
    return [vectors, values]


def platform_rule(platforms: Sequence[Any], **_: Any) -> Any:
    """The number of the branch that is written for CPUs."""
    return next(i for i, names in enumerate(platforms) if names is None or "cpu" in names)


def logsumexp_rule(a: Any, axis: int) -> Any:
    """log(exp(a_1) + ... + exp(a_i)) for each i along an axis."""
    return np.logaddexp.accumulate(a, axis)
