"""Rows that are series or images themselves: each encoded, and their sum taken over the rows.

A block is one such row. Of many it is a hierarchy: a set of series, or of images.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.errors import ModelError
from amortppl.networks.image import ConvolutionalImage
from amortppl.networks.series import ConvolutionalSeries, RecurrentSeries
from amortppl.networks.series_transformer import TransformerSeries

SERIES = {
    "gru": RecurrentSeries,
    "temporal_convolution": ConvolutionalSeries,
    "series_transformer": TransformerSeries,
}
"""Encoders of series by name."""

Shapes = Mapping[str, tuple[int, ...]]


class ShapedRows(eqx.Module):
    """The sum over rows of what encodes one row in its own shape.

    >>> import jax.random as jr
    >>> encode = ShapedRows(RecurrentSeries(2, 8, jr.key(0)), (("y", (5, 2)),), series=True)
    >>> encode(jnp.ones((3, 10)), jnp.ones(3, bool)).shape
    (8,)
    """

    one: Any
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)
    series: bool = eqx.field(static=True)

    @property
    def size(self) -> int:
        """E, the numbers in an encoded row."""
        return self.one.size

    def __call__(self, rows: Float[Array, "N F"], mask: Bool[Array, " N"]) -> Float[Array, " E"]:
        """Flat rows (N, F) -> the sum (E,) over the rows that the mask keeps."""
        encoded = jax.vmap(self._encode)(rows)
        return jnp.sum(jnp.where(mask[:, None], encoded, 0.0), 0)

    def read(self, mean: Float[Array, " E"]) -> Float[Array, " E"]:
        """The mean over rows, unchanged."""
        return mean

    def _encode(self, row: Float[Array, " F"]) -> Float[Array, " E"]:
        if not self.series:
            return self.one(row.reshape(self.shapes[0][1]))
        parts, start = [], 0
        for _, shape in self.shapes:
            stop = start + prod(shape)
            parts.append(row[start:stop].reshape(shape[0], -1))
            start = stop
        steps = jnp.concatenate(parts, 1)
        count = steps.shape[0]
        return self.one.read(self.one(steps, jnp.ones(count, bool)) / count)


def series_rows(name: str, shapes: Shapes, size: int, key: PRNGKeyArray) -> ShapedRows:
    """An encoder of rows that are series, (steps, ...) each.

    Raises:
        ModelError: an argument has no axis of steps, or they have unlike numbers of steps.
    """
    steps = {n: s[:1] for n, s in shapes.items()}
    if not all(steps.values()) or len(set(steps.values())) > 1:
        raise ModelError(
            f"encoder: {name!r} reads series, whose first axis are steps, as many in every "
            f"argument; got the shapes {dict(shapes)}. Where the rows are the steps, give the task "
            "ordered=True"
        )
    channels = sum(prod(s[1:]) for s in shapes.values())
    return ShapedRows(SERIES[name](channels, size, key), tuple(shapes.items()), True)


def image_rows(shapes: Shapes, size: int, key: PRNGKeyArray) -> ShapedRows:
    """An encoder of rows that are images.

    Raises:
        ModelError: there is no single argument of shape (height, width) or (height, width,
            channels).
    """
    (name, shape), *others = shapes.items()
    if others or len(shape) not in (2, 3):
        raise ModelError(
            "encoder: 'image' reads one argument of shape (height, width) or (height, width, "
            f"channels), got {dict(shapes)}"
        )
    return ShapedRows(ConvolutionalImage(shape, size, key), ((name, shape),), False)


def own_encoder(make: Any, features: int, size: int, key: PRNGKeyArray) -> Any:
    """An encoder of a user's own: a class or function of (features, size, key), or a module.

    It gives an Equinox module with a call (rows (N, features), mask (N,)) -> (E,), a sum over the
    rows or the mean times their number, with `size`, which is E, and with `read`, from the mean
    over rows to what a network reads. A module without `size` and `read`, as `equinox.nn.MLP`,
    encodes one row, (features,) -> (E,).

    Raises:
        ModelError: it is none, fails, lacks one of these, or gives another shape.
    """
    if not callable(make):
        raise ModelError(
            "encoder: expected a name, a function (features, size, key) -> an Equinox module, or "
            f"such a module, got {type(make).__name__}"
        )
    name = getattr(make, "__name__", type(make).__name__)
    try:
        encode = make if isinstance(make, eqx.Module) else make(features, size, key)
    except Exception as error:
        raise ModelError(
            f"encoder: {name} should give a module for ({features} numbers in a row, {size} in its "
            f"embedding, a key), and it fails ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    missing = [n for n in ("size", "read", "__call__") if not hasattr(encode, n)]
    if missing == ["size", "read"] and isinstance(encode, eqx.Module):
        return _each_row(encode, features)
    if missing:
        raise ModelError(f"encoder: {type(encode).__name__} has no {', '.join(missing)}")
    rows = jax.ShapeDtypeStruct((2, features), jnp.float32)
    try:
        summed = jax.eval_shape(encode, rows, jax.ShapeDtypeStruct((2,), bool))
    except Exception as error:
        raise ModelError(
            f"encoder: {type(encode).__name__} should take rows (N, {features}) and a mask (N,), "
            f"and it fails ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    if summed.shape != (encode.size,):
        raise ModelError(
            f"encoder: {type(encode).__name__} should give {encode.size} numbers, its size, and "
            f"gives the shape {summed.shape}"
        )
    return encode


class EachRow(eqx.Module):
    """The sum over rows of what a module of a user's own makes of one."""

    one: Any
    size: int = eqx.field(static=True)

    def __call__(self, rows: Float[Array, "N F"], mask: Bool[Array, " N"]) -> Float[Array, " E"]:
        """Rows (N, F) -> the sum (E,) over those that the mask keeps."""
        return jnp.sum(jnp.where(mask[:, None], jax.vmap(self.one)(rows), 0.0), 0)

    def read(self, mean: Float[Array, " E"]) -> Float[Array, " E"]:
        """The mean over rows, unchanged."""
        return mean


def _each_row(one: Any, features: int) -> EachRow:
    try:
        encoded = jax.eval_shape(one, jax.ShapeDtypeStruct((features,), jnp.float32))
    except Exception as error:
        raise ModelError(
            f"encoder: {type(one).__name__} has no `size` and `read`, so it should encode one row "
            f"of {features} numbers, and it fails ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    if len(encoded.shape) != 1:
        raise ModelError(
            f"encoder: {type(one).__name__} should make (E,) numbers of a row, and gives the shape "
            f"{encoded.shape}"
        )
    return EachRow(one, encoded.shape[0])
