"""Links between a mean and its linear predictor, as text of the program and as numbers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from amortppl.errors import DataError, nearest, quoted


class Link(NamedTuple):
    """A link function g: g(mean) = eta.

    Attributes:
        inverse: text of the mean, with `eta` for the linear predictor.
        forward: g, in NumPy, of a mean within its range.
    """

    inverse: str
    forward: Callable[[float], float]


LINKS = {
    "identity": Link("eta", lambda m: m),
    "log": Link("jnp.exp(eta)", lambda m: float(np.log(m))),
    "inverse": Link("1.0 / eta", lambda m: 1.0 / m),
    "sqrt": Link("eta**2", lambda m: float(np.sqrt(m))),
    "logit": Link("jax.nn.sigmoid(eta)", lambda m: float(np.log(m / (1.0 - m)))),
    "probit": Link("jax.scipy.special.ndtr(eta)", lambda m: 0.0),
    "cloglog": Link("-jnp.expm1(-jnp.exp(eta))", lambda m: float(np.log(-np.log1p(-m)))),
}
"""Links by name."""


def link_named(name: str | None, allowed: tuple[str, ...], family: str) -> str:
    """The name of a family's link; its first where none is asked for.

    Raises:
        DataError: the family does not take it.
    """
    if name is None:
        return allowed[0]
    if name not in allowed:
        raise DataError(
            f"link: {name!r} is no link of the family {family!r} (it takes {quoted(allowed)})"
            f"{nearest(name, allowed)}"
        )
    return name
