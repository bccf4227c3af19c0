"""Progress of a training run."""

from amortppl.runtime.progress import Progress
from amortppl.training.record import Record

LONG = 600.0
"""Seconds of a training above which it is said how to make it shorter."""


class Training(Progress):
    """Reports a training run: losses, and time left by steps or by the clock."""

    def __init__(self, steps: int | None, minutes: float | None, device: str, shown: bool) -> None:
        self.minutes = minutes
        total = float(steps) if steps is not None else 60.0 * (minutes or 0.0)
        super().__init__(
            "step" if minutes is None else "second", total, f"training on {device}", shown
        )

    def look(self, record: Record) -> None:
        """Shows the latest losses."""
        message = f"loss {record.losses[-1]:.3f}  held-out {record.held_out[-1]:.3f}"
        if record.unusable or record.skipped:
            message += f"  ({record.unusable} tasks unusable, {record.skipped} updates skipped)"
        if self.minutes is not None:
            message = f"step {record.steps}  {message}"
        self.update(float(record.steps) if self.minutes is None else record.seconds, message)

    def estimate(self, seconds: float, updates: int) -> None:
        """Says before the first update how long all of them will take."""
        self._tell(f"{updates:,} updates will take about {_in_words(seconds)}", seconds)

    def foretell(self, seconds: float) -> None:
        """Says, where that is long, what simulated tasks alone take, most of them at the start."""
        if self.minutes is None and seconds > LONG:
            self._tell(f"simulated tasks alone will take about {_in_words(seconds)}", seconds)

    def _tell(self, line: str, seconds: float) -> None:
        shorter = "; pass fewer steps=, or minutes= to end by the clock"
        self.say(line + (shorter if seconds > LONG else ""))


def _in_words(seconds: float) -> str:
    """`40 seconds`, `4 minutes`, `2.5 hours`."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} second{'s' if seconds >= 1.5 else ''}"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
