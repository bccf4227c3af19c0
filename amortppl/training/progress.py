"""Progress of a training run."""

from amortppl.runtime.progress import Progress
from amortppl.training.record import Record


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
        said = f"loss {record.losses[-1]:.3f}  held-out {record.held_out[-1]:.3f}"
        if record.unusable or record.skipped:
            said += f"  ({record.unusable} tasks unusable, {record.skipped} updates skipped)"
        if self.minutes is not None:
            said = f"step {record.steps}  {said}"
        self.update(float(record.steps) if self.minutes is None else record.seconds, said)
