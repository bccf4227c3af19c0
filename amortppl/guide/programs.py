"""The programs of a first answer, compiled beside one another.

They are traced one after another, each from the shapes that the one before it returns, and XLA
compiles them in threads meanwhile: the answer waits for the slowest, not for all.
"""

from collections.abc import Sequence

import jax
import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.posterior import predictions
from amortppl.posterior.draws import Drawn, constrain_ahead, draws_at_once, sample, states
from amortppl.posterior.padding import Chunk, chunks
from amortppl.runtime.compilation import signature
from amortppl.runtime.seeds import fold_in, seed_key
from amortppl.training.trained import TrainedMethod
from amortppl.trust.checks import check_ahead
from amortppl.trust.misspecification import Familiarity

_begun: set[int] = set()
"""Hashes of what programs were begun for; where two are alike, one is compiled at its call."""


def compile_together(
    guide: TrainedMethod,
    familiarity: Familiarity | None,
    datasets: Sequence[Dataset],
    draws: int,
    keep: Sequence[bool],
    joint: bool = True,
) -> None:
    """Begins to compile what an answer needs; calls of these programs wait until they are ready.

    Shapes that this process has begun before are left alone.

    Args:
        guide, familiarity, datasets, draws: as of `amortppl.guide.infer.infer`.
        keep: whether log likelihoods by row, and predictive draws, will be asked for.
        joint: whether the program of the draws gives their log joints.
    """
    if jax.config.jax_disable_jit:
        return
    for chunk in chunks(guide.task, datasets, first=True):
        shapes = hash(signature(guide.method, chunk.batch, draws, *keep, joint))
        if shapes in _begun:
            continue
        _begun.add(shapes)
        drawn = _draws_ahead(guide, chunk, draws, joint)
        if familiarity:
            check_ahead(guide, familiarity, chunk, drawn.vectors)
        if len(datasets) == 1:
            constrain_ahead(guide.method, drawn.vectors, chunk.batch)
            predictions.compile_ahead(guide.method, drawn.vectors[0], datasets[0], keep)


def _draws_ahead(guide: TrainedMethod, chunk: Chunk, draws: int, joint: bool) -> Drawn:
    """Zeros in the shapes of the draws of a chunk's datasets."""
    values = states.compile_ahead(guide.method, chunk.batch)
    keys = fold_in(seed_key(0), np.asarray(chunk.index))
    size = draws_at_once(guide.task, chunk.batch) if joint else None
    return sample.compile_ahead(guide.method, values, chunk.batch, keys, draws, size)
