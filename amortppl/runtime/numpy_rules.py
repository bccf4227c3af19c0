"""JAX's primitives in NumPy: for each a function of its operands and, by name, its parameters.

Parameters that say how JAX computes (precision, layouts, sharding) are passed over. `lax` documents
each primitive.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import linalg, special

Rule = Callable[..., Any]


def _elementwise(function: Rule) -> Rule:
    return lambda *given, **_: function(*given)


def _divide(a: Any, b: Any) -> Any:
    if np.asarray(a).dtype.kind == "f":
        return a / b
    return np.where(b == 0, -1, np.trunc(a / np.where(b == 0, 1, b)))


def _round(a: Any, rounding_method: Any = 0, **_: Any) -> Any:
    return np.round(a) if int(rounding_method) == 1 else np.sign(a) * np.floor(np.abs(a) + 0.5)


def _reduce(function: Rule) -> Rule:
    return lambda a, axes, **_: function(a, axis=tuple(axes))


def _argument(function: Rule) -> Rule:
    return lambda a, axes, **_: function(a, axis=axes[0])


def _cumulative(function: Rule) -> Rule:
    def rule(a: Any, axis: int, reverse: bool = False, **_: Any) -> Any:
        return np.flip(function(np.flip(a, axis), axis), axis) if reverse else function(a, axis)

    return rule


def _broadcast(
    a: Any, *_: Any, shape: Sequence[int], broadcast_dimensions: Sequence[int], **__: Any
) -> Any:
    wide = [1] * len(shape)
    for axis, place in enumerate(broadcast_dimensions):
        wide[place] = a.shape[axis]
    return np.broadcast_to(np.reshape(a, wide), shape)


def _iota(*_: Any, shape: Sequence[int], dimension: int, **__: Any) -> Any:
    wide = [1] * len(shape)
    wide[dimension] = shape[dimension]
    return np.broadcast_to(np.arange(shape[dimension]).reshape(wide), shape)


def _slice(a: Any, start_indices: Any, limit_indices: Any, strides: Any = None, **_: Any) -> Any:
    steps = strides or [1] * a.ndim
    return a[tuple(slice(*each) for each in zip(start_indices, limit_indices, steps, strict=True))]


def _starts(a: Any, starts: Sequence[Any], sizes: Sequence[int]) -> tuple[slice, ...]:
    first = [int(np.clip(s, 0, n - k)) for s, n, k in zip(starts, a.shape, sizes, strict=True)]
    return tuple(slice(s, s + k) for s, k in zip(first, sizes, strict=True))


def _dynamic_slice(a: Any, *starts: Any, slice_sizes: Sequence[int], **_: Any) -> Any:
    return a[_starts(a, starts, slice_sizes)]


def _dynamic_update_slice(a: Any, update: Any, *starts: Any, **_: Any) -> Any:
    found = np.array(a)
    found[_starts(a, starts, update.shape)] = update
    return found


def _pad(a: Any, value: Any, padding_config: Any, **_: Any) -> Any:
    if any(inside or min(low, high) < 0 for low, high, inside in padding_config):
        raise NotImplementedError("negative or interior padding")
    return np.pad(a, [(low, high) for low, high, _ in padding_config], constant_values=value)


def _dot_general(a: Any, b: Any, dimension_numbers: Any, **_: Any) -> Any:
    (left, right), (batch_left, batch_right) = dimension_numbers
    letters = "abcdefghijklmnopqrstuvwxyz"
    one, two = list(letters[: a.ndim]), list(letters[a.ndim : a.ndim + b.ndim])
    for i, j in [*zip(left, right, strict=True), *zip(batch_left, batch_right, strict=True)]:
        two[j] = one[i]
    batch = [one[i] for i in batch_left]
    rest = [c for i, c in enumerate(one) if i not in (*left, *batch_left)]
    rest += [c for i, c in enumerate(two) if i not in (*right, *batch_right)]
    return np.einsum(f"{''.join(one)},{''.join(two)}->{''.join(batch + rest)}", a, b)


def _select(which: Any, *cases: Any, **_: Any) -> Any:
    return (
        np.choose(np.broadcast_to(which, cases[0].shape).astype(int), cases)
        if len(cases) > 2
        else np.where(which, cases[1], cases[0])
    )


def _gather(
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
        places.append(start.reshape(*start.shape, *[1] * len(kept)) + span)
    found = a[tuple(places)] if places else np.broadcast_to(a, indices.shape[:-1])
    if "FILL" in str(mode) and outside.any():
        empty = np.nan if found.dtype.kind == "f" and fill_value is None else fill_value
        empty = (
            empty
            if empty is not None
            else (np.iinfo(found.dtype).min if found.dtype.kind == "i" else 0)
        )
        found = np.where(outside.reshape(*outside.shape, *[1] * len(kept)), empty, found)
    return np.moveaxis(found, range(lead, found.ndim), numbers.offset_dims)


def _sort(*given: Any, dimension: int, num_keys: int, **_: Any) -> Sequence[Any]:
    if num_keys != 1:
        raise NotImplementedError("a sort by several keys")
    order = np.argsort(given[0], dimension, kind="stable")
    return [np.take_along_axis(g, order, dimension) for g in given]


def _batched(function: Rule, *given: Any) -> Any:
    lead = given[0].shape[:-2]
    flat = [g.reshape(-1, *g.shape[-2:]) for g in given]
    return np.stack([function(*each) for each in zip(*flat, strict=True)]).reshape(
        (*lead, *given[-1].shape[-2:])
    )


def _cholesky(a: Any, **_: Any) -> Any:
    def one(matrix: Any) -> Any:
        try:
            return np.linalg.cholesky((matrix + matrix.T) / 2)
        except np.linalg.LinAlgError:
            return np.full_like(matrix, np.nan)

    return _batched(one, a)


def _triangular_solve(
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

    return _batched(one, a, b)


def _split(a: Any, sizes: Sequence[int], axis: int, **_: Any) -> Sequence[Any]:
    return np.split(a, np.cumsum(sizes)[:-1], axis)


def _bitcast(a: Any, new_dtype: Any, **_: Any) -> Any:
    narrow = np.asarray(a, np.float32) if np.asarray(a).dtype.kind == "f" else np.asarray(a)
    found = narrow.view(new_dtype)
    return found.astype(np.float64) if found.dtype.kind == "f" else found


def _polynomial(x: Any, *coefficients: Any, **_: Any) -> Any:
    found = np.zeros_like(x)
    for each in coefficients[::-1]:
        found = found * x + each
    return found


def _unstack(a: Any, axis: int, **_: Any) -> Sequence[Any]:
    return list(np.moveaxis(a, axis, 0))


def _eigh(a: Any, **_: Any) -> Sequence[Any]:
    if not np.isfinite(a).all():
        return [np.full_like(a, np.nan), np.full_like(a[..., 0], np.nan)]
    values, vectors = np.linalg.eigh(a)
    return [vectors, values]


def _platform(platforms: Sequence[Any], **_: Any) -> Any:
    return next(i for i, names in enumerate(platforms) if names is None or "cpu" in names)


def _logsumexp(a: Any, axis: int) -> Any:
    return np.logaddexp.accumulate(a, axis)


# Random numbers: others than JAX's. A key is one number of 64 bits, so that arrays of keys have
# their own shape.


def _generator(key: Any, number: int = 0) -> np.random.Generator:
    return np.random.default_rng([int(key), number])


def _fresh(key: Any, number: int, shape: Sequence[int] = ()) -> Any:
    return _generator(key, number).integers(0, 2**64, shape, dtype=np.uint64)


def _each_key(function: Rule, keys: Any, *more: Any) -> Any:
    found = [
        np.asarray(function(k, *m))
        for k, *m in zip(*(b.ravel() for b in np.broadcast_arrays(keys, *more)), strict=True)
    ]
    lead = np.broadcast_shapes(*(np.shape(a) for a in (keys, *more)))
    return np.stack(found).reshape((*lead, *found[0].shape))


def _random_bits(keys: Any, bit_width: int, shape: Sequence[int], **_: Any) -> Any:
    kind = np.dtype(f"uint{bit_width}")
    return _each_key(lambda k: _generator(k).integers(0, 2**bit_width, shape, dtype=kind), keys)


def _random_gamma(keys: Any, alpha: Any, log_space: bool = False, **_: Any) -> Any:
    keys = np.broadcast_to(keys.reshape(keys.shape + (1,) * (alpha.ndim - keys.ndim)), alpha.shape)
    places = np.arange(alpha.size).reshape(alpha.shape)
    drawn = _each_key(lambda k, i, a: _generator(k, int(i)).gamma(a), keys, places, alpha)
    return np.log(drawn) if log_space else drawn


def _wrapped(pairs: Any, **_: Any) -> Any:
    return pairs[..., 0].astype(np.uint64) << np.uint64(32) | pairs[..., 1].astype(np.uint64)


def _unwrapped(keys: Any, **_: Any) -> Any:
    return np.stack([keys >> np.uint64(32), keys & np.uint64(2**32 - 1)], -1).astype(np.uint32)


RULES: dict[str, Rule] = {
    name: _elementwise(function)
    for name, function in {
        "neg": np.negative, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
        "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh,
        "atanh": np.arctanh, "exp": np.exp, "exp2": np.exp2, "log": np.log, "log1p": np.log1p, "expm1": np.expm1,
        "sqrt": np.sqrt, "rsqrt": lambda a: 1 / np.sqrt(a), "cbrt": np.cbrt, "logistic": special.expit,
        "erf": special.erf, "erfc": special.erfc, "erf_inv": special.erfinv, "lgamma": special.gammaln,
        "digamma": special.digamma, "abs": np.abs, "sign": np.sign, "floor": np.floor, "ceil": np.ceil,
        "is_finite": np.isfinite, "not": np.invert, "square": np.square, "copy": np.asarray, "copy_p": np.asarray,
        "stop_gradient": np.asarray, "bessel_i0e": special.i0e, "bessel_i1e": special.i1e, "add": np.add,
        "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "div": _divide, "rem": np.fmod, "pow": np.power,
        "atan2": np.arctan2, "max": np.maximum, "min": np.minimum, "and": np.bitwise_and, "or": np.bitwise_or,
        "xor": np.bitwise_xor, "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
        "gt": np.greater, "ge": np.greater_equal, "nextafter": np.nextafter, "shift_left": np.left_shift,
        "shift_right_logical": np.right_shift, "igamma": special.gammainc, "igammac": special.gammaincc,
        "regularized_incomplete_beta": special.betainc, "polygamma": special.polygamma, "zeta": special.zeta,
        "clamp": lambda low, a, high: np.clip(a, low, high),
    }.items()
} | {
    "integer_pow": lambda a, y, **_: np.power(a, float(y) if y < 0 else y),
    "round": _round,
    "reduce_precision": lambda a, **_: a,
    "convert_element_type": lambda a, new_dtype, **_: np.asarray(a),
    "bitcast_convert_type": _bitcast,
    "broadcast_in_dim": _broadcast,
    "reshape": lambda a, *_, new_sizes, **__: np.reshape(a, new_sizes),
    "squeeze": lambda a, dimensions, **_: np.squeeze(a, tuple(dimensions)),
    "expand_dims": lambda a, dimensions, **_: np.expand_dims(a, tuple(dimensions)),
    "transpose": lambda a, permutation, **_: np.transpose(a, permutation),
    "concatenate": lambda *parts, dimension, **_: np.concatenate(parts, dimension),
    "rev": lambda a, dimensions, **_: np.flip(a, tuple(dimensions)),
    "stack": lambda *parts, axis, **_: np.stack(parts, axis),
    "unstack": _unstack,
    "polynomial": _polynomial,
    "optimization_barrier": lambda *given, **_: given,
    "platform_index": _platform,
    "eigh": _eigh,
    "slice": _slice,
    "split": _split,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "pad": _pad,
    "gather": _gather,
    "dot_general": _dot_general,
    "select_n": _select,
    "iota": _iota,
    "sort": _sort,
    "reduce_sum": _reduce(np.sum),
    "reduce_max": _reduce(np.max),
    "reduce_min": _reduce(np.min),
    "reduce_prod": _reduce(np.prod),
    "reduce_and": _reduce(np.all),
    "reduce_or": _reduce(np.any),
    "argmax": _argument(np.argmax),
    "argmin": _argument(np.argmin),
    "cumsum": _cumulative(np.cumsum),
    "cumprod": _cumulative(np.cumprod),
    "cummax": _cumulative(np.maximum.accumulate),
    "cummin": _cumulative(np.minimum.accumulate),
    "cumlogsumexp": _cumulative(_logsumexp),
    "cholesky": _cholesky,
    "triangular_solve": _triangular_solve,
    "random_bits": _random_bits,
    "random_split": lambda keys, shape, **_: _each_key(lambda k: _fresh(k, 1, shape), keys),
    "random_fold_in": lambda keys, data, **_: _each_key(lambda k, d: _fresh(k, 2 + int(d)), keys, data),
    "random_gamma": _random_gamma,
    "random_seed": lambda seed, **_: np.asarray(seed).astype(np.uint64),
    "random_wrap": _wrapped,
    "random_unwrap": _unwrapped,
}  # fmt: skip
