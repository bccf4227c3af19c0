"""Is the log joint of a stream's draws, up to a constant, the plain model's?

What k-hat of a stream rests on is log p(theta_s, D) - log p(theta_0, D). At one further draw it is
compared with the plain model's (`amortppl.trust.parity`), a block of rows at a time, in 64 bits, on
the numbers as the source gave them, before they were cast.
"""

import warnings

import numpy as np

from amortppl.data.checks import simulated_type
from amortppl.errors import UnreliableWarning
from amortppl.posterior.stream_likelihood import EARLY
from amortppl.task.abstract import AbstractTask
from amortppl.trust.parity import Parity, Sum, allowed, log_joints, why_not


class StreamParity:
    """Adds up the plain model's log likelihood of a stream at two of its draws.

    Attributes:
        result: of the one dataset that the stream is, once `judge` was called.
    """

    def __init__(self, task: AbstractTask, vectors: np.ndarray, lead: int = 0) -> None:
        self.task, self.place = task, len(vectors) // 2
        self.pair = np.asarray(vectors)[[0, self.place]]
        self.active = not why_not(task) and task.row_free and not task.tied
        self.active = self.active and not (task.local and task.local.in_turn)
        self.lead = lead
        self._before: dict[str, np.ndarray] | None = None
        self.total, self.prior = np.zeros((4, 2)), np.zeros(2)
        self.result = Parity.unknown(1)

    def add(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes a block of rows in, as they came."""
        if not self.active or not np.isfinite(self.pair).all():
            return
        wide = {"f": np.float64, "i": np.int64, "u": np.uint64}
        kinds = {n: wide[simulated_type(self.task, n).kind] for n in arrays}
        rows = {n: v.astype(kinds[n]) for n, v in arrays.items()}
        if self.task.ordered:
            return self._add_in_order(rows)
        [sums] = log_joints(self.task, [self.pair], [rows])
        if not self.total[2].any():
            self.prior = self._prior(arrays, kinds)
        self.total += np.stack(sums)
        self.total[0] -= self.prior

    def _add_in_order(self, rows: dict[str, np.ndarray]) -> None:
        """Takes rows in that follow those before, which they are evaluated behind."""
        if self.total[2, 0] >= EARLY:
            return
        kept = self._before or {n: v[:0] for n, v in rows.items()}
        whole = {n: np.concatenate([kept[n], v]) for n, v in rows.items()}
        stacked = {n: np.stack([v, v]) for n, v in whole.items()}
        judged = self.task.judge.log_densities(self.pair.astype(np.float32).astype(float), stacked)
        new = judged.rows[:, len(next(iter(kept.values()))) :]
        self.prior = judged.prior
        count = np.full(2, new.shape[1])
        self.total += np.stack([new.sum(1), np.abs(new).sum(1), count, np.zeros(2)])
        self._before = {n: v[max(len(v) - self.lead, 0) :] for n, v in whole.items()}

    def judge(self, joint: np.ndarray) -> None:
        """Compares the log joints (S,) of all draws, relative to that of the first."""
        if not self.total[2].any():
            return
        value = np.diff(self.total[0] + self.prior)
        # Both draws are rounded, and either may be the one whose terms are large.
        size, error = self.total[[1, 3]].sum(1, keepdims=True)
        plain = Sum(value, size, self.total[2, 1:], error)
        off, limit = joint[[self.place]] - plain.value, allowed(plain)
        checked = ~np.isposinf(limit)
        self.result = Parity(off, limit, checked & (np.abs(off) <= limit), checked)

    def notes(self) -> list[str]:
        """A note where they differ.

        Warns:
            UnreliableWarning: likewise.
        """
        if self.result.agrees[0]:
            return []
        if not self.active:
            return ["the log joint behind k-hat was not compared with the model's own"]
        note = (
            f"NOT RELIABLE, the log joint behind k-hat is {self.result.error[0]:.3g} nats off the "
            "model's own over all rows: rows that are not independent given the latents, or "
            "numbers that 32 bits do not hold; infer some hundreds of rows in memory to see why"
        )
        warnings.warn(note, UnreliableWarning, stacklevel=4)
        return [note]

    def _prior(self, arrays: dict[str, np.ndarray], kinds: dict[str, type]) -> np.ndarray:
        """Log prior at both draws: what one row and that row twice have in common."""
        one = {n: v[:1].astype(kinds[n]) for n, v in arrays.items()}
        twice = {n: np.repeat(v, 2, 0) for n, v in one.items()}
        first, both = log_joints(self.task, [self.pair] * 2, [one, twice])
        return 2 * first.value - both.value
