"""Encoders of rows. One idea a file."""

import equinox as eqx
from jaxtyping import PRNGKeyArray

from amortppl.networks.deep_set import DeepSet


def encoder(name: str, features: int, size: int, key: PRNGKeyArray) -> eqx.Module:
    """An encoder of exchangeable rows by name: (N, features) rows -> (size,) context."""
    return {"deep_set": DeepSet}[name](features, size, key)
