"""What tells a file of rows from another: so that a state counts no row twice."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from amortppl.errors import GuideError

END = 1 << 16
"""Bytes at either end of a file that are compared."""


@dataclass(frozen=True)
class FileSeen:
    """A file of rows, or a share of one.

    Attributes:
        name: its path.
        size: bytes.
        head, tail: SHA-256 of its first and last 64 KiB.
        share: "index/count"; "0/1" for all of its rows.
    """

    name: str
    size: int
    head: str
    tail: str
    share: str = "0/1"

    @classmethod
    def of(cls, path: Path, share: str) -> "FileSeen":
        """What a file is now."""
        size = path.stat().st_size
        return cls(
            str(path.resolve()), size, _hash(path, 0, END), _hash(path, max(size - END, 0)), share
        )

    def same_rows(self, other: "FileSeen") -> bool:
        """Whether both hold the same rows; their names may differ."""
        alike = (self.size, self.head, self.tail) == (other.size, other.head, other.tail)
        return alike and (self.share == other.share or "0/1" in (self.share, other.share))

    def has_grown(self) -> bool:
        """Whether the file of this name begins as it did, and is longer now."""
        path = Path(self.name)
        longer = path.is_file() and path.stat().st_size > self.size
        return longer and _hash(path, 0, min(self.size, END)) == self.head


def _hash(path: Path, start: int, length: int = END) -> str:
    with open(path, "rb") as file:
        file.seek(start)
        return sha256(file.read(length)).hexdigest()


def refuse_seen(seen: Sequence[FileSeen], coming: Iterable[FileSeen]) -> list[str]:
    """Refuses files whose rows a state has seen.

    Returns:
        Notes on files that have grown since, whose first rows would count twice.

    Raises:
        GuideError: naming the first file that was seen in full.
    """
    notes = []
    for file in coming:
        earlier = next((s for s in seen if s.same_rows(file)), None)
        if earlier is not None:
            other = "" if earlier.name == file.name else f", then called {earlier.name}"
            raise GuideError(
                f"state: it has seen {file.name} in full{other}; its rows would count twice. Give "
                f"other rows, or start a new state"
            )
        if any(s.name == file.name and s.has_grown() for s in seen):
            notes.append(
                f"state: {file.name} has grown since the state has seen it; the rows that it had "
                f"then count twice. Give the new rows alone"
            )
    return notes
