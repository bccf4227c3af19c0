"""One stack of NumPyro's handlers for each thread.

NumPyro keeps its handlers in one list for the whole process, so that two threads that trace models
at once run inside each other's handlers. The list is replaced by one that has an instance in each
thread; in one thread nothing changes.
"""

import sys
import threading
from collections.abc import Iterable, MutableSequence
from functools import cache
from typing import Any


class StackOfThread(MutableSequence):
    """A list whose contents belong to the thread that looks."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._local = threading.local()
        self._items.extend(items)

    @property
    def _items(self) -> list[Any]:
        if not hasattr(self._local, "items"):
            self._local.items = []
        return self._local.items

    def __getitem__(self, place: Any) -> Any:
        return self._items[place]

    def __setitem__(self, place: Any, value: Any) -> None:
        self._items[place] = value

    def __delitem__(self, place: Any) -> None:
        del self._items[place]

    def __len__(self) -> int:
        return len(self._items)

    def insert(self, index: int, value: Any) -> None:
        """Puts a value before a place."""
        self._items.insert(index, value)


@cache
def separate_stacks() -> None:
    """Gives each thread its own stack of NumPyro's handlers, from now on."""
    import numpyro.handlers
    import numpyro.primitives

    shared = numpyro.primitives._PYRO_STACK
    separate = StackOfThread(shared)
    for module in [m for n, m in sys.modules.items() if n.split(".")[0] == "numpyro"]:
        if getattr(module, "_PYRO_STACK", None) is shared:
            module._PYRO_STACK = separate
