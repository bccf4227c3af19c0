"""Work done ahead of its consumer, in one background thread."""

import sys
from collections.abc import Callable, Iterator
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

_END = object()


class _Failed:
    """An error on its way to the consumer."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def prefetch[T](make: Callable[[], Iterator[T]], depth: int = 2) -> Iterator[T]:
    """Runs an iterator in a thread, at most `depth` items ahead and one in the making.

    The thread starts when the first item is requested. It ends when the items end, when one
    fails (the error is raised here), or when this iterator is closed or collected.
    """
    queue: Queue[Any] = Queue(depth)
    stopped = Event()
    thread = Thread(target=_work, args=(make, queue, stopped), name="amortppl-reader", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item
            del item
    finally:
        stopped.set()
        _join(thread, queue)


def _work(make: Callable[[], Iterator[Any]], queue: Queue[Any], stopped: Event) -> None:
    items = None
    try:
        items = make()
        for item in items:
            queue.put(item)
            del item
            if stopped.is_set():
                return
        queue.put(_END)
    except BaseException as error:
        queue.put(_Failed(error))
    finally:
        del items


def _join(thread: Thread, queue: Queue[Any]) -> None:
    """Waits for the thread, making room for what it still has in hand."""
    while (
        thread.is_alive() and not sys.is_finalizing()
    ):  # when Python ends, its daemon threads stand still
        try:
            queue.get(timeout=0.02)
        except Empty:
            continue
