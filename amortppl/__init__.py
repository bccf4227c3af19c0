"""Amortized guides for probabilistic programs: train across simulated tasks, infer in milliseconds.

Names are resolved on first use, so that `import amortppl` itself costs next to nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amortppl.batches import Batches, batches
    from amortppl.catalogue import method, model
    from amortppl.diagnostics.calibration import diagnose
    from amortppl.guide import Guide
    from amortppl.pyro import from_pyro
    from amortppl.state import State, combine, gathered
    from amortppl.storage import load
    from amortppl.task import Task
    from amortppl.train import train

_HOMES = {
    "Batches": "batches",
    "Guide": "guide",
    "State": "state",
    "Task": "task",
    "batches": "batches",
    "combine": "state",
    "diagnose": "diagnostics.calibration",
    "gathered": "state",
    "from_pyro": "pyro",
    "load": "storage",
    "method": "catalogue",
    "model": "catalogue",
    "train": "train",
}

__all__ = [
    "Batches",
    "Guide",
    "State",
    "Task",
    "batches",
    "combine",
    "diagnose",
    "from_pyro",
    "gathered",
    "load",
    "method",
    "model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'amortppl' has no attribute {name!r}")
    value = getattr(import_module(f"amortppl.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps public names apart from submodules of the same name, which Python would put in their place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
