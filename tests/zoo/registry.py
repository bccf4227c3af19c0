"""Pyro models of all kinds, as people write them, each with data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Member(NamedTuple):
    """A Pyro model and its arguments."""

    name: str
    model: Callable[..., Any]
    args: tuple[Any, ...]


ZOO: dict[str, Member] = {}

_GENERATOR = torch.Generator().manual_seed(0)


def member(*args: Any, name: str | None = None) -> Callable[[Any], Any]:
    """Puts a model with its arguments into the zoo."""

    def put(model: Any) -> Any:
        called = name or model.__name__
        assert called not in ZOO
        ZOO[called] = Member(called, model, args)
        return model

    return put


def normal(*shape: int) -> torch.Tensor:
    """Standard normal numbers that leave torch's own generator alone."""
    return torch.randn(*shape, generator=_GENERATOR)


def uniform(*shape: int) -> torch.Tensor:
    """Numbers between 0 and 1."""
    return torch.rand(*shape, generator=_GENERATOR)


def counts(rate: torch.Tensor) -> torch.Tensor:
    """Poisson counts."""
    return torch.poisson(rate, generator=_GENERATOR)


X = normal(40, 3)
Y = X @ torch.tensor([1.0, -2.0, 0.5]) + 0.3 * normal(40)
GROUP = torch.randint(0, 5, (40,), generator=_GENERATOR)
YES = (uniform(40) < torch.sigmoid(Y)).float()
COUNT = counts(torch.exp(0.3 * Y))
