"""How many datasets a method is asked about, where each answer is a search of its own."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from amortppl.runtime.progress import Progress


@contextmanager
def pace(
    name: str, datasets: int, seconds: float | None, least: int, shown: bool
) -> Iterator[Callable[[int], bool]]:
    """Counts datasets on a progress bar; what it gives says whether to take another after so many.

    >>> with pace("laplace", 30, seconds=None, least=2, shown=False) as go_on:
    ...     [go_on(1), go_on(2)]
    [True, True]
    >>> with pace("neural_ratio", 30, seconds=0.0, least=2, shown=False) as go_on:
    ...     [go_on(1), go_on(2)]
    [True, False]

    Args:
        name: of the method.
        datasets: how many there are.
        seconds: after which no further dataset is begun that would not be done in time; None for
            all of them.
        least: datasets that are done however long they take.
        shown: whether to show a bar.
    """
    with Progress("dataset", datasets, f"scoring {name}", shown) as report:
        begin = last = time.monotonic()

        def go_on(done: int) -> bool:
            nonlocal last
            now = time.monotonic()
            each, last = now - last, now
            report.update(done, f"{each:.1f} s each")
            in_time = seconds is None or now - begin + each <= seconds
            return in_time or done < least

        yield go_on
