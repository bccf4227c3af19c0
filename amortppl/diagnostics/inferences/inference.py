"""What every inference is to a calibration: datasets in, draws out, thinned to independent ones."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array

RHAT = 1.05
"""R-hat above which a dataset's chains did not agree."""

ALL = 0.8
"""Share of draws that are effective from which all are kept: the rest is the error of the ESS."""


class Answers(NamedTuple):
    """Draws for each of T datasets, unconstrained.

    Attributes:
        vectors: (T, S, P); those after the first `kept` are padding.
        kept: how many draws count, (T,); 0 where the inference failed.
        problems: for each dataset what went wrong, in words; empty where nothing did.
    """

    vectors: np.ndarray
    kept: np.ndarray
    problems: list[str]


class Inference(NamedTuple):
    """An inference under test.

    Attributes:
        name: what to call it.
        together: datasets, of one shape, that a call takes.
        run: (data by argument (T, N, ...), T keys, S) -> `Answers`.
        settings: what else the answers depend on, for checkpoints.
    """

    name: str
    together: int
    run: Callable[[dict[str, np.ndarray], Array, int], Answers]
    settings: str = ""


def thin_chains(chains: np.ndarray, draws: int, seed: int = 0) -> Answers:
    """Chains (T, C, L, P) as at most S draws a dataset, as many as are effective, in random order.

    The effective sample size is the smallest of all latents, of the centre and of the tails.
    """
    count, _, _, size = chains.shape
    flat = chains.reshape(count, -1, size)
    effective, problems = _effective(chains)
    rng = np.random.default_rng(seed)
    vectors, kept = np.zeros((count, draws, size), np.float32), np.zeros(count, int)
    for i, number in enumerate(effective):
        if not np.isfinite(flat[i]).all():
            problems[i] = "draws are not finite"
            continue
        kept[i] = min(number, flat.shape[1], draws)
        places = np.linspace(0, flat.shape[1] - 1, kept[i]).astype(int)
        vectors[i, : kept[i]] = flat[i][rng.permutation(places)]
    return Answers(vectors, kept, problems)


def _effective(chains: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Effective draws of each dataset (T,), and what R-hat says."""
    from arviz_stats.base import array_stats

    count, total = len(chains), chains.shape[1] * chains.shape[2]
    each = np.moveaxis(np.asarray(chains, np.float64), 3, 1)
    if chains.shape[2] < 4 or not chains.shape[3]:
        return np.full(count, total), [""] * count
    with np.errstate(all="ignore"):
        bulk = array_stats.ess(each)
        tail = array_stats.ess(each, method="tail", prob=(0.05, 0.95))
        rhat = array_stats.rhat(each) if chains.shape[1] > 1 else np.ones(each.shape[:2])
    least = np.nanmin(np.fmin(np.nan_to_num(bulk, nan=total), np.nan_to_num(tail, nan=total)), 1)
    worst = np.nanmax(np.nan_to_num(rhat, nan=np.inf, posinf=np.inf), 1)
    problems = [f"R-hat above {RHAT}" if r > RHAT else "" for r in worst]
    least = np.where(least >= ALL * total, total, least)
    return np.maximum(least.astype(int), 1), problems
