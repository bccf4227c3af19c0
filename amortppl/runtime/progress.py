"""Progress: a live bar on a terminal, plain lines elsewhere, nothing when told to be quiet."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    pass


class Progress:
    """Reports a long piece of work on standard error.

    Args:
        unit: what is counted: `step`, `rows`.
        total: how much there is to do, or None when nobody knows.
        title: what is being done.
        shown: False for silence.
    """

    def __init__(self, unit: str, total: float | None, title: str, shown: bool) -> None:
        self.unit, self.total, self.title, self.shown = unit, total, title, shown
        self.live = shown and sys.stderr.isatty()
        self.told, self.begin = 0, time.monotonic()
        self.bar = Bar(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[said]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=Console(stderr=True),
        )  # fmt: skip

    def __enter__(self) -> "Progress":
        if self.live:
            self.bar.start()
            self.row = self.bar.add_task(self.title, total=self.total, said="compiling")
        elif self.shown:
            print(f"{self.title}: compiling", file=sys.stderr, flush=True)
        return self

    def update(self, done: float, said: str) -> None:
        """Shows how much is done; in plain lines a tenth at a time, or each doubling of what has no
        known end.
        """
        if self.live:
            self.bar.update(
                self.row, completed=done if self.total is None else min(done, self.total), said=said
            )
        elif self.shown and self._due(done):
            print(
                f"  {self.unit} {done:,.0f}{self._share(done)}  {said}", file=sys.stderr, flush=True
            )

    def _due(self, done: float) -> bool:
        tenth = int(done).bit_length() if self.total is None else int(10 * done / self.total)
        due = tenth >= self.told
        self.told = tenth + 1 if due else self.told
        return due

    def _share(self, done: float) -> str:
        if self.total is None:
            return ""
        left = (time.monotonic() - self.begin) * (self.total - done) / max(done, 1e-9)
        return f"  {100 * done / self.total:3.0f}%  {max(left, 0):.0f} s left"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.bar.stop()
