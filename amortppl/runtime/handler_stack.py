"""NumPyro's stack of handlers: who is on it, and one stack for each thread.

Leans on `numpyro.primitives._PYRO_STACK`, the list on which NumPyro's handlers put themselves.
NumPyro has one list for the whole process and no public way to ask for it. Two threads that trace
models at once would run inside each other's handlers, so the list is replaced by one that has an
instance in each thread; in one thread nothing changes. Checked with NumPyro 0.22.0;
tests/runtime/test_internals.py fails where NumPyro keeps its handlers elsewhere.
"""

import sys
import threading
from collections.abc import Iterable, MutableSequence
from functools import cache
from typing import Any

import numpyro.handlers
import numpyro.primitives


def has_handler(kind: type) -> bool:
    """Whether a handler of a kind is on the stack: whether the caller runs inside one."""
    return any(isinstance(handler, kind) for handler in numpyro.primitives._PYRO_STACK)


class StackOfThread(MutableSequence):
    """A list whose contents belong to the thread that reads it.

    >>> import threading
    >>> stack, lengths = StackOfThread(["a handler"]), []
    >>> other = threading.Thread(target=lambda: lengths.append(len(stack)))
    >>> other.start(), other.join()
    (None, None)
    >>> len(stack), lengths
    (1, [0])
    """

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
        """Inserts a value before an index."""
        self._items.insert(index, value)


@cache
def separate_stacks() -> None:
    """Gives each thread its own stack of NumPyro's handlers, from now on."""
    shared = numpyro.primitives._PYRO_STACK
    separate = StackOfThread(shared)
    for module in [m for n, m in sys.modules.items() if n.split(".")[0] == "numpyro"]:
        if getattr(module, "_PYRO_STACK", None) is shared:
            module._PYRO_STACK = separate
