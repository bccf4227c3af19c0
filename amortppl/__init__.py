"""Amortized guides for probabilistic programs: train across simulated tasks, infer in milliseconds.

Names are resolved on first use, so that `import amortppl` itself costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amortppl.catalogue import method, model
    from amortppl.guide import Guide
    from amortppl.storage import load
    from amortppl.task import Task
    from amortppl.train import train

_HOMES = {"Guide": "guide", "Task": "task", "load": "storage", "method": "catalogue", "model": "catalogue", "train": "train"}

__all__ = ["Guide", "Task", "load", "method", "model", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'amortppl' has no attribute {name!r}")
    value = getattr(import_module(f"amortppl.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
