"""Progress: a live bar on a terminal, plain lines elsewhere, or nothing."""

import sys
import time
from types import TracebackType
from typing import Any


class Progress:
    """Reports a long piece of work on standard error.

    Args:
        unit: what is counted: `step`, `rows`.
        total: how much there is to do; None where that is open.
        title: what is being done.
        shown: whether to report anything.
        first: what is done before anything can be counted.
    """

    def __init__(
        self, unit: str, total: float | None, title: str, shown: bool, first: str = "compiling"
    ) -> None:
        self.first = first
        self.unit, self.total, self.title, self.shown = unit, total, title, shown
        self.live = shown and sys.stderr.isatty()
        self.reported, self.begin = 0, time.monotonic()

    def __enter__(self) -> "Progress":
        if self.live:
            self.bar = _bar()
            self.bar.start()
            self.row = self.bar.add_task(self.title, total=self.total, message=self.first)
        elif self.shown:
            print(f"{self.title}: {self.first}", file=sys.stderr, flush=True)
        return self

    def update(self, done: float, message: str) -> None:
        """Shows how much is done.

        Plain lines come at each tenth; where the total is open, at each doubling.
        """
        if self.live:
            completed = done if self.total is None else min(done, self.total)
            self.bar.update(self.row, completed=completed, message=message)
        elif self.shown and self._due(done):
            line = f"  {self.unit} {done:,.0f}{self._share(done)}  {message}"
            print(line, file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Shows a line that stays."""
        if self.live:
            self.bar.console.print(line)
        elif self.shown:
            print(f"  {line}", file=sys.stderr, flush=True)

    def _due(self, done: float) -> bool:
        tenth = int(done).bit_length() if self.total is None else int(10 * done / self.total)
        due = tenth >= self.reported
        self.reported = tenth + 1 if due else self.reported
        return due

    def _share(self, done: float) -> str:
        if self.total is None:
            return ""
        left = (time.monotonic() - self.begin) * (self.total - done) / max(done, 1e-9)
        return f"  {100 * min(done / self.total, 1.0):3.0f}%  {max(left, 0):.0f} s left"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.bar.stop()


def _bar() -> Any:
    """A live bar; rich is imported when one is shown."""
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.percentage:>3.0f}%"),
        progress.TextColumn("{task.fields[message]}"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
