"""Scores of a method by the latents of simulated datasets, where no density predicts rows."""

from collections.abc import Callable
from typing import Any

import numpy as np

from amortppl.diagnostics.sbc import measure
from amortppl.diagnostics.uniformity import distance_from_uniform
from amortppl.training.trained import TrainedMethod


def score_latents(
    guide: TrainedMethod,
    datasets: int,
    draws: int,
    seed: int,
    go_on: Callable[[int], bool] = lambda done: True,
) -> dict[str, Any]:
    """The posteriors of T simulated datasets beside the latents that made these.

    Datasets are those of `ap.diagnose`, the same for all methods with one seed, and latents
    unconstrained.

    Args:
        guide: the guide.
        datasets: T.
        draws: of each posterior.
        seed: of the datasets and draws.
        go_on: as of `measure`.

    Returns:
        `datasets`, how many were scored, `log_posterior`, the mean of log q(theta | D) in nats, and
        its standard error; `rmse` of posterior means, in sds of the latents over datasets; `pit` as
        of `ap.compare`.
    """
    measured = measure(guide, datasets, draws, seed, go_on=go_on)
    miss = (measured.mean - measured.truth) / measured.truth.std(0)
    return {
        "datasets": len(measured.truth),
        "log_posterior": measured.log_density.mean(),
        "log_posterior_se": measured.log_density.std(ddof=1) / np.sqrt(len(measured.truth)),
        "rmse": np.sqrt(np.mean(miss**2)),
        "pit": distance_from_uniform(measured.pit.ravel()),
    }
