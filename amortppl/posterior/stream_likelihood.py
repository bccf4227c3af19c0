"""The log likelihood of all rows of a stream, summed chunk by chunk."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from amortppl.data.batches import Batches, Block
from amortppl.method import Method
from amortppl.posterior.series_stream import last_rows, lay_out_in_order
from amortppl.posterior.stream import lay_out
from amortppl.runtime import batched_map
from amortppl.runtime.compilation import Compiled
from amortppl.task.batch import Batch
from amortppl.training.trained import TrainedMethod


EARLY = 1 << 14
"""Rows of a series that the plain model is compared on: it runs through them one by one."""


class Likelihood:
    """Log likelihoods of draws, summed over a source of any length.

    A sum over a million rows loses what float32 cannot hold. So each row's log likelihood is taken
    relative to that at the first draw, and blocks are added up in float64.

    Args:
        guide: the guide.
        vectors: unconstrained draws, (S, P).
        early: of a series, the sum over its first `EARLY` rows or all; None before they were read.
        lead: of a series, the rows that a block looks back at.
    """

    def __init__(self, guide: TrainedMethod, vectors: Array, lead: int = 0) -> None:
        self.guide, self.vectors, self.lead = guide, vectors, lead
        self._before: dict[str, np.ndarray] | None = None
        self.early: np.ndarray | None = None

    def over(
        self, batches: Batches, look: Callable[[dict[str, np.ndarray]], object] = lambda _: None
    ) -> np.ndarray:
        """sum_i log p(y_i | x_i, theta_s) - log p(y_i | x_i, theta_0), shape (S,).

        Args:
            look: called with the rows of every block, as they came.
        """
        total = np.zeros(len(self.vectors))
        if self.guide.task.ordered:
            batches = batches.in_order(self.guide.task.name)
        steps = max(1, 4096 // batches.size)
        for block in batches.blocks(self.guide.task, steps, keep=True):
            look(dict(block.given))
            minis = self._laid_out(block, batches.size, steps)
            flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), minis)
            total += np.asarray(relative(self.guide.method, self.vectors, flat), np.float64)
            if self.early is None and block.start + batches.size * steps >= EARLY:
                self.early = total.copy()
        return total

    def _laid_out(self, block: Block, size: int, steps: int) -> Batch:
        if not self.guide.task.ordered:
            return lay_out(block, size, steps)
        minis = lay_out_in_order(block.arrays, self._before, self.lead, size * steps, 1)
        self._before = last_rows(block.arrays, self._before, self.lead)
        return minis


@Compiled
def relative(method: Method, vectors: Array, batch: Batch) -> Array:
    """Log likelihood of a batch at each draw, minus that at the first draw, (S,)."""

    def one(vector: Array) -> Array:
        return method.task.log_densities(vector, batch.data)[1]

    rows = batched_map.batched_map(one, vectors, 16)
    return jnp.sum(jnp.where(batch.mask, rows - rows[0], 0.0), 1)
