"""How many datasets a method is asked about, where each answer is a search of its own."""

import time
from types import TracebackType

from amortppl.runtime.progress import Progress


class Pace:
    """Counts datasets on a progress bar, and ends where the time does.

    >>> with Pace("laplace", 30, seconds=None, least=2, shown=False) as go_on:
    ...     [go_on(1), go_on(2)]
    [True, True]
    >>> with Pace("neural_ratio", 30, seconds=0.0, least=2, shown=False) as go_on:
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

    def __init__(
        self, name: str, datasets: int, seconds: float | None, least: int, shown: bool
    ) -> None:
        self.report = Progress("dataset", datasets, f"scoring {name}", shown)
        self.seconds, self.least, self.begin, self.last = seconds, least, 0.0, 0.0

    def __enter__(self) -> "Pace":
        self.report.__enter__()
        self.begin = self.last = time.monotonic()
        return self

    def __call__(self, done: int) -> bool:
        """Whether to take another dataset after so many."""
        now = time.monotonic()
        each, self.last = now - self.last, now
        self.report.update(done, f"{each:.1f} s each")
        if self.seconds is None or done < self.least:
            return True
        return now - self.begin + each <= self.seconds

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.report.__exit__(kind, value, trace)
