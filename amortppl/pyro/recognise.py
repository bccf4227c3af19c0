"""Whether a callable is a Pyro model, found without importing Pyro."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

DEPTH = 4
"""How many calls deep a model's own functions are looked into."""


def is_pyro(model: Callable[..., Any]) -> bool:
    """Whether a model is a PyroModule or uses a name from the package pyro.

    False where pyro was never imported.
    """
    if "pyro" not in sys.modules or getattr(model, "from_pyro", False):
        return False
    names = {n for f in _functions(model, DEPTH, set()) for n in _packages(f)}
    return "pyro" in names or any(c.__module__.split(".")[0] == "pyro" for c in type(model).__mro__)


def underlying(thing: Any) -> Any:
    """The model as it was written, without handlers and other wrappers around it.

    A handler of Pyro's around a model is a partial call whose last argument is the model, or an
    object with the handler as `msngr` and the model as `fn`.
    """
    while True:
        if isinstance(thing, functools.partial):
            thing = thing.args[-1] if thing.args and callable(thing.args[-1]) else thing.func
        elif hasattr(thing, "msngr"):
            thing = thing.fn
        elif hasattr(thing, "__wrapped__"):
            thing = thing.__wrapped__
        else:
            return thing


def _functions(thing: Any, depth: int, seen: set[int]) -> Iterator[Any]:
    """The functions that a callable runs: its own, and those it calls from its own module."""
    thing = underlying(thing)
    if depth < 0 or id(thing) in seen:
        return
    seen.add(id(thing))
    function = getattr(thing, "__func__", thing)
    if not inspect.isfunction(function):
        return
    yield function
    for used in _used(function):
        if getattr(used, "__module__", None) == function.__module__:
            yield from _functions(used, depth - 1, seen)


def _used(function: Any) -> list[Any]:
    """What a function refers to outside of itself."""
    names = inspect.getclosurevars(function)
    return [*names.globals.values(), *names.nonlocals.values()]


def _packages(function: Any) -> Iterator[str]:
    """Top-level packages of the modules, classes and functions that a function names."""
    yield (function.__module__ or "").split(".")[0]
    for used in _used(function):
        home = used.__name__ if inspect.ismodule(used) else getattr(used, "__module__", None)
        yield (home or "").split(".")[0]
