"""Encoders of rows. One idea a file."""

from jaxtyping import PRNGKeyArray

from amortppl.errors import nearest, quoted
from amortppl.networks.deep_set import DeepSet
from amortppl.networks.second_moments import SecondMoments
from amortppl.networks.set_transformer import SetTransformer

ENCODERS = {"deep_set": DeepSet, "second_moments": SecondMoments, "set_transformer": SetTransformer}
"""Encoders by name."""

Encoder = DeepSet | SecondMoments | SetTransformer


def encoder(name: str, features: int, size: int, key: PRNGKeyArray) -> Encoder:
    """An encoder of exchangeable rows by name.

    It maps rows (N, features) to sums over rows (encoder.size,). `encoder.read` turns these,
    divided by the number of rows, into what a network reads of them.

    >>> import jax, jax.numpy as jnp
    >>> encode = encoder("deep_set", features=3, size=8, key=jax.random.key(0))
    >>> encode(jnp.ones((5, 3)), jnp.ones(5, bool)).shape
    (8,)

    Args:
        name: one of `ENCODERS`.
        features: numbers in a row.
        size: numbers in an embedding.
        key: draws the weights.

    Raises:
        LookupError: no encoder of that name.
    """
    if name not in ENCODERS:
        raise LookupError(
            f"encoder: {name!r} is none of {quoted(ENCODERS)}{nearest(name, ENCODERS)}"
        )
    return ENCODERS[name](features, size, key)
