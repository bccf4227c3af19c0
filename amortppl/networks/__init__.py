"""Encoders of rows. One idea a file."""

import equinox as eqx
from jaxtyping import PRNGKeyArray

from amortppl.errors import nearest, quoted
from amortppl.networks.deep_set import DeepSet
from amortppl.networks.set_transformer import SetTransformer

ENCODERS = {"deep_set": DeepSet, "set_transformer": SetTransformer}


def encoder(name: str, features: int, size: int, key: PRNGKeyArray) -> eqx.Module:
    """An encoder of exchangeable rows by name: (N, features) rows -> (size,) context.

    Raises:
        LookupError: no encoder of that name.
    """
    if name not in ENCODERS:
        raise LookupError(f"encoder: {name!r} is none of {quoted(ENCODERS)}{nearest(name, ENCODERS)}")
    return ENCODERS[name](features, size, key)
