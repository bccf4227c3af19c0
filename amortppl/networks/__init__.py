"""Encoders of rows. One idea a file."""

from typing import Any

from jaxtyping import PRNGKeyArray

from amortppl.errors import nearest, quoted
from amortppl.networks.deep_set import DeepSet
from amortppl.networks.second_moments import SecondMoments
from amortppl.networks.set_transformer import SetTransformer
from amortppl.networks.shaped import SERIES, Shapes, image_rows, own_encoder, series_rows

ENCODERS = {"deep_set": DeepSet, "second_moments": SecondMoments, "set_transformer": SetTransformer}
"""Encoders of exchangeable rows by name."""

NAMES = (*ENCODERS, *SERIES, "image")
"""All encoders by name."""

Encoder = Any
"""A call (rows (N, F), mask (N,)) -> (E,), `size`, which is E, and `read`."""


def encoder(
    name: Any,
    features: int,
    size: int,
    key: PRNGKeyArray,
    shapes: Shapes | None = None,
    ordered: bool = False,
) -> Encoder:
    """An encoder of rows.

    It maps rows (N, features) to sums over rows (encoder.size,). `encoder.read` turns these,
    divided by the number of rows, into what a network reads of them.

    >>> import jax, jax.numpy as jnp
    >>> encode = encoder("deep_set", features=3, size=8, key=jax.random.key(0))
    >>> encode(jnp.ones((5, 3)), jnp.ones(5, bool)).shape
    (8,)

    Args:
        name: one of `NAMES`, or a function (features, size, key) -> an Equinox module
            (`amortppl.networks.shaped.own_encoder`), or such a module, which is trained on.
        features: numbers in a row.
        size: numbers in an embedding.
        key: draws the weights.
        shapes: of one row of every argument, for encoders of series and of images.
        ordered: whether the rows are the steps of one series.

    Raises:
        LookupError: no encoder of that name.
        ModelError: the rows are no series or images, or an own encoder is not as it should be.
    """
    if not isinstance(name, str):
        return own_encoder(name, features, size, key)
    if name not in NAMES:
        raise LookupError(
            f"encoder: {name!r} is none of {quoted(NAMES)}, nor a path FILE.py:NAME"
            f"{nearest(name, NAMES)}"
        )
    if name in ENCODERS:
        return ENCODERS[name](features, size, key)
    if name in SERIES:
        if ordered:
            return SERIES[name](features, size, key)
        return series_rows(name, shapes or {"row": (features,)}, size, key)
    return image_rows(shapes or {}, size, key)
