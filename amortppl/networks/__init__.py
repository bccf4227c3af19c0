"""Encoders of rows. One idea a file."""

from jaxtyping import PRNGKeyArray

from amortppl.errors import nearest, quoted
from amortppl.networks.deep_set import DeepSet
from amortppl.networks.second_moments import SecondMoments
from amortppl.networks.set_transformer import SetTransformer

ENCODERS = {"deep_set": DeepSet, "second_moments": SecondMoments, "set_transformer": SetTransformer}

Encoder = DeepSet | SecondMoments | SetTransformer


def encoder(name: str, features: int, size: int, key: PRNGKeyArray) -> Encoder:
    """An encoder of exchangeable rows by name: (N, features) rows -> sums over rows,
    (encoder.size,).

    `encoder.read` turns these, divided by the number of rows, into what a network reads of them.

    Raises:
        LookupError: no encoder of that name.
    """
    if name not in ENCODERS:
        raise LookupError(
            f"encoder: {name!r} is none of {quoted(ENCODERS)}{nearest(name, ENCODERS)}"
        )
    return ENCODERS[name](features, size, key)
