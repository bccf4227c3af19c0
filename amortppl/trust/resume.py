"""Datasets that a climb has finished, on disk as they come: a run that was cut short does only the
rest.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from amortppl.errors import DataError
from amortppl.runtime.files import pack, unpack, write
from amortppl.trust.attempt import Attempt, Climb

ARRAYS = ("vectors", "log_guide", "log_joint", "log_weights")


class SavedClimb:
    """The file of one climb."""

    def __init__(self, run: Climb) -> None:
        self.run, self.path = run, Path(run.ladder.keep or "")
        self.written = -1

    def read(self) -> None:
        """Takes over what an earlier run of the same climb finished.

        Raises:
            DataError: the file is of another climb, or damaged.
        """
        if not self.path.exists():
            return
        try:
            arrays, about = unpack(self.path, None)
        except (ValueError, OSError) as error:
            raise DataError(f"keep: {error}; delete it to begin anew") from error
        if about.get("identity") != self._identity():
            raise DataError(
                f"keep: {self.path} holds answers for another guide, other datasets, draws, seed "
                "or thresholds, or of another version; name another file, or delete it to begin "
                "anew"
            )
        for place, each in about["done"].items():
            self._take(int(place), each, arrays)

    def _take(self, place: int, each: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        run, numbers = self.run, [float("nan") if x is None else x for x in each["numbers"]]
        *numbers, missed = numbers
        draws = (arrays[f"['{place}']['{n}']"] for n in ARRAYS)
        run.best[place] = Attempt(*draws, *numbers, "", missed)
        run.source[place], run.done[place] = each["source"], True
        run.why[place] = each["why"]
        run.seconds[place] = [np.nan if s is None else s for s in each["seconds"]]

    def write(self) -> None:
        """Writes all finished datasets, when there are more than before."""
        done = np.nonzero(self.run.done)[0]
        if len(done) == self.written:
            return
        run, self.written = self.run, len(done)
        arrays = {str(i): {n: getattr(run.best[i], n) for n in ARRAYS} for i in done}
        about = {str(i): self._about(int(i)) for i in done}
        write(self.path, pack(arrays, {"identity": self._identity(), "done": about}))

    def _about(self, place: int) -> dict[str, Any]:
        run, answer = self.run, self.run.best[place]
        numbers = [answer.khat, answer.ess, answer.rhat, answer.missed]
        return {
            "numbers": [float(x) if np.isfinite(x) else None for x in numbers],
            "source": run.source[place],
            "why": list(run.why[place]),
            "seconds": [float(s) if np.isfinite(s) else None for s in run.seconds[place]],
        }

    def _identity(self) -> list[str]:
        run, digest = self.run, sha256()
        for dataset in run.datasets:
            for name, values in sorted(dataset.arrays.items()):
                digest.update(
                    name.encode()
                    + str(values.shape).encode()
                    + np.ascontiguousarray(values).tobytes()
                )
        thresholds = [str(v) for n, v in vars(run.ladder).items() if n not in ("budget", "keep")]
        given = [str(run.draws), str(run.seed), *thresholds, *Attempt._fields]
        return [run.guide.identity, digest.hexdigest(), *given]
