"""Stored simulations split in three: to learn from, to stop by, and to check with.

The simulations of the least hashes of their latents stop, those of the next ones check, so that
copies of one simulation are never in two parts. Of few simulations more are held out than the share
that was asked for: `FEWEST` stop and `FEWEST` check, at least.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from amortppl.errors import DataError, quoted
from amortppl.simulators.supports import expect_many_values
from amortppl.simulators.table import ROWS, Table

LEARN, STOP, CHECK, UNUSABLE = range(4)
"""Parts of the simulations; in the last are those with values that are not finite."""

LOOKED_AT = 10_000
"""Simulations among which the values of a target are counted."""

FEWEST = 20
"""The least number of simulations in a part."""


class Stored:
    """M simulations in memory or mapped into it, each in one part.

    Attributes:
        latents, data: (M, ...) by name.
        part: of each simulation.

    Args:
        table: the simulations.
        held_out: the share that nothing is learned from; half of it says when to stop, half is for
            checks, and each half is of at least `FEWEST`.

    Raises:
        DataError: fewer than three times `FEWEST` simulations, or a latent that is the same in
            all or discrete.
    """

    def __init__(self, table: Table, held_out: float = 0.1) -> None:
        if not isinstance(held_out, int | float) or not 0 < held_out < 1:
            raise DataError(f"held_out: expected a share between 0 and 1, got {held_out!r}")
        self.latents, self.data, self.folder = table
        self.part = parted(*self._levels(), float(held_out))
        for name, values in self.latents.items():
            expect_many_values(name, np.asarray(values[:LOOKED_AT]))
        self._expect_enough()

    def take(self, places: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Latents and data of some simulations, in 32 bits."""
        order = np.argsort(places, kind="stable")
        back = np.argsort(order, kind="stable")
        return tuple(
            {n: np.asarray(v[places[order]], np.float32)[back] for n, v in side.items()}
            for side in (self.latents, self.data)
        )

    def places(self, part: int) -> np.ndarray:
        """Where the simulations of a part are."""
        return np.flatnonzero(self.part == part)

    @property
    def size(self) -> int:
        """M, those of no use included."""
        return len(self.part)

    @property
    def bytes_each(self) -> int:
        """Bytes of one simulation in 32 bits."""
        arrays = [*self.latents.values(), *self.data.values()]
        return 4 * sum(int(np.prod(v.shape[1:])) for v in arrays)

    def _levels(self) -> tuple[np.ndarray, np.ndarray]:
        """The hash of each simulation's latents, and whether all its values are finite."""
        count = len(next(iter(self.latents.values())))
        if not count:
            raise DataError("simulations: expected some, got arrays with no simulation")
        levels, finite = np.empty(count), np.empty(count, bool)
        spans = {n: [np.inf, -np.inf] for n in self.latents}
        for start in range(0, count, ROWS):
            rows = slice(start, start + ROWS)
            chunk = {
                n: np.asarray(v[rows], np.float32) for n, v in (self.latents | self.data).items()
            }
            own = {n: chunk[n] for n in self.latents}
            levels[rows] = hash_rows(own)
            each = [np.isfinite(v).reshape(len(v), -1).all(1) for v in chunk.values()]
            finite[rows] = np.all(each, 0)
            for name, values in own.items():
                kept = values[finite[rows]]
                if len(kept):
                    flat = kept.reshape(len(kept), -1)
                    spans[name] = [
                        np.minimum(spans[name][0], flat.min(0)),
                        np.maximum(spans[name][1], flat.max(0)),
                    ]
        fixed = [n for n, (low, high) in spans.items() if np.any(low == high)]
        if fixed:
            raise DataError(
                f"simulations: the latent {quoted(fixed)} has an entry that is the same in all of "
                "them, so nothing can be learned of it; leave it out"
            )
        return levels, finite

    def _expect_enough(self) -> None:
        counts = [int(np.sum(self.part == p)) for p in (LEARN, STOP, CHECK)]
        if min(counts) < FEWEST:
            raise DataError(
                f"simulations: expected at least {FEWEST} to learn from, to stop by and to check "
                f"with, got {counts} of {self.size} (finite ones, copies in one part); "
                f"simulate {3 * FEWEST} or more, or give a smaller held_out"
            )


def parted(levels: np.ndarray, finite: np.ndarray, held_out: float) -> np.ndarray:
    """The part of each simulation, by the order of hashes (M,); equal hashes are in one part.

    >>> parts = parted(np.linspace(0, 0.99, 100), np.arange(100) > 0, 0.1)
    >>> np.bincount(parts).tolist()  # to learn from, to stop by, to check with, of no use
    [59, 20, 20, 1]
    """
    parts = np.where(finite, LEARN, UNUSABLE).astype(np.int8)
    left, share = levels[finite], 0.0
    for part in (STOP, CHECK):
        share += held_out / 2
        least = np.partition(left, FEWEST - 1)[FEWEST - 1] if len(left) >= FEWEST else np.inf
        own = (levels < share) | (levels <= least)
        parts[own & (parts == LEARN)] = part
        left = left[(left >= share) & (left > least)]
    return parts


def hash_rows(arrays: Mapping[str, Any]) -> np.ndarray:
    """A number in [0, 1) for each row of the arrays together, which looks uniform.

    Rows of equal values have equal numbers. Steele, Lea and Flood 2014, "Fast splittable
    pseudorandom number generators" (the mixing function of SplitMix64).
    """
    flat = [np.asarray(v, np.float32).reshape(len(v), -1) for v in arrays.values()]
    bits = np.ascontiguousarray(np.concatenate(flat, 1)).view(np.uint32)
    state = np.full(len(bits), 0x9E3779B97F4A7C15, np.uint64)
    for column in bits.T:
        state = (state ^ column) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) / 2.0**53
