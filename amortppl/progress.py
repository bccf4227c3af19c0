"""Progress: a live bar on a terminal, plain lines elsewhere, nothing when told to be quiet."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from amortppl.train import Record


class Progress:
    """Reports a training run on standard error.

    Args:
        steps: how many updates there will be, or None.
        minutes: how long it will take, or None.
        device: what it runs on.
        shown: False for silence.
    """

    def __init__(self, steps: int | None, minutes: float | None, device: str, shown: bool) -> None:
        self.steps, self.minutes, self.device, self.shown = steps, minutes, device, shown
        self.live = shown and sys.stderr.isatty()
        self.total = float(steps) if steps is not None else 60.0 * (minutes or 0.0)
        self.told, self.begin = 0, time.monotonic()
        self.bar = Bar(
            SpinnerColumn(), TextColumn("training"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[said]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=Console(stderr=True),
        )  # fmt: skip

    def __enter__(self) -> "Progress":
        if self.live:
            self.bar.start()
            self.row = self.bar.add_task("training", total=self.total, said=f"compiling on {self.device}")
        elif self.shown:
            print(f"training on {self.device}: compiling", file=sys.stderr, flush=True)
        return self

    def update(self, record: "Record") -> None:
        """Shows the latest losses."""
        done = min(float(record.steps) if self.minutes is None else record.seconds, self.total)
        said = f"loss {record.losses[-1]:.3f}  held-out {record.held_out[-1]:.3f}"
        if record.unusable or record.skipped:
            said += f"  ({record.unusable} tasks unusable, {record.skipped} updates skipped)"
        if self.live:
            self.bar.update(self.row, completed=done, said=said)
        elif self.shown and done >= self.told * self.total / 10:
            self.told = int(10 * done / self.total) + 1
            spent = time.monotonic() - self.begin
            left = spent * (self.total - done) / max(done, 1e-9)
            print(
                f"  step {record.steps}  {100 * done / self.total:3.0f}%  {said}  {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.bar.stop()
