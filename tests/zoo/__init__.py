"""About sixty Pyro models, by theme."""

from zoo import (
    discrete,
    distributions,
    handlers,
    hierarchy,
    modules,
    operations,
    regression,
    series,
)
from zoo.registry import ZOO, Member

__all__ = [
    "ZOO",
    "Member",
    "discrete",
    "distributions",
    "handlers",
    "hierarchy",
    "modules",
    "operations",
    "regression",
    "series",
]
