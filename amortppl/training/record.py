"""What happened in training."""

from dataclasses import dataclass, field


@dataclass
class Record:
    """What happened in training: kept in the guide's certificate.

    Attributes:
        losses: mean of each look's updates.
        held_out: of the averaged weights on the held-out tasks, at each look.
        steps: updates made.
        unusable: simulated tasks whose values or scores were not finite.
        skipped: updates not made, as loss or gradient were not finite.
        tasks: tasks simulated.
        seconds: wall-clock seconds, compilation included.
        device: what it ran on.
    """

    losses: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    steps: int = 0
    unusable: int = 0
    skipped: int = 0
    tasks: int = 0
    seconds: float = 0.0
    device: str = ""
