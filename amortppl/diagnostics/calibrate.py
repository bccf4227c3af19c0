"""Calibration of any inference over simulated datasets, as a table and a page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amortppl.diagnostics.calibration import Calibration
from amortppl.diagnostics.calibration import calibrate as calibrate_guide
from amortppl.diagnostics.inference_sbc import measure_inference
from amortppl.diagnostics.inferences.named import find_inference
from amortppl.task.abstract import AbstractTask
from amortppl.training.trained import TrainedMethod


def calibrate(
    task: AbstractTask,
    infer: Any,
    datasets: int = 200,
    draws: int = 400,
    seed: int = 0,
    *,
    rows: int | Sequence[int] | None = None,
    around: Any = None,
    report: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    vmap: bool = False,
    processes: int = 1,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Calibration of any inference over simulated datasets, a row a latent entry.

    Each dataset is simulated from the task with latents theta drawn from the prior. If draws come
    from the posterior, the rank of theta among them is uniform (simulation-based calibration, Talts
    et al. 2018, arXiv 1804.06788). Draws of Markov chains are thinned to as many as are effective.

    Args:
        task: the model, its inputs and sizes.
        infer: what is checked:

            - a function `(data, key) -> draws by latent`, each (S, ...) or, of chains, (C, L, ...),
              or an xarray tree in ArviZ's schema; `data` holds the arguments of the model by name;
            - a name: `"numpyro.nuts"`, `"numpyro.autoguide:AutoMultivariateNormal"` (any guide
              there), `"pathfinder"` (the extra `blackjax`), `"pyro.svi"` and
              `"pyro.autoguide:AutoNormal"` (of Pyro models), or a method such as `"laplace"`;
            - a guide.
        datasets: T, the number of datasets, at least 20.
        draws: S, the number of draws for each dataset before thinning, at least 20.
        seed: the seed of simulations and inferences.
        rows: numbers of rows of the datasets; by default two between the task's smallest and
            largest, so that datasets of one shape are inferred in one compiled call. A guide takes
            all of its task's sizes.
        around: an observed dataset (a dict of arrays or a DataFrame): datasets are then simulated
            around it, from the inference's own posterior (posterior SBC, Säilynoja et al. 2025,
            arXiv 2502.03279).
        report: an HTML file to write as well.
        options: of an inference by name: of NUTS `chains`, `warmup`, `target_accept`; of SVI
            `steps`, `rate`, `particles`; of a method those of `ap.train`.
        vmap: whether a function is JAX code, to be compiled and mapped over datasets.
        processes: of Python in which a function runs, which they must be able to import.
        checkpoint: a file that keeps what is done; the same call continues from it.
        progress: whether to report while it runs.

    Returns:
        The table of `ap.diagnose`. Its `attrs` have `problems` as well: for each kind how many
        datasets had it, such as a function that raised an error or chains that did not agree.
        Datasets without draws are left out and counted as `lost`, which makes `ok` False as a
        whole, as in `ap.diagnose`.

    Raises:
        DataError: too few datasets or draws, a name that there is not, draws of another shape, or
            none for most datasets.

    Example, of exact draws from N(sum y / (n + 1), 1 / (n + 1)):
        >>> import amortppl as ap, jax, jax.numpy as jnp
        >>> task = ap.model("gaussian_mean", rows=(4, 8))
        >>> def exact(data, key):
        ...     n = len(data["y"])
        ...     noise = jax.random.normal(key, (100,)) / jnp.sqrt(n + 1)
        ...     return {"mean": jnp.sum(data["y"]) / (n + 1) + noise}
        >>> table = ap.calibrate(task, exact, datasets=40, vmap=True, progress=False)
        >>> table["ok"].tolist()
        [True]
    """
    inference = find_inference(task, infer, options, vmap, processes)
    calibration = calibrate_inference(
        task, inference, datasets, draws, seed, rows, around, checkpoint, progress
    )
    if report is not None:
        from amortppl.diagnostics.calibration_page import write_calibration

        write_calibration(calibration, report)
    return calibration.table


def calibrate_inference(
    task: AbstractTask,
    inference: Any,
    datasets: int = 200,
    draws: int = 400,
    seed: int = 0,
    rows: int | Sequence[int] | None = None,
    around: Any = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> Calibration:
    """The calibration of an inference that `find_inference` returned; see `calibrate`."""
    if isinstance(inference, TrainedMethod):
        return calibrate_guide(inference, datasets, draws, seed, around)
    from amortppl.data.dataset import read

    observed = None if around is None else read(task, around)
    measured = measure_inference(
        task, inference, datasets, draws, seed, rows, observed, checkpoint, progress
    )
    kept = int(np.median(measured.kept[measured.kept > 0]))
    return Calibration(
        task.name,
        task.latents.labels(),
        measured.measurements,
        kept,
        around is not None,
        inference.name,
        dict(Counter(p for p in measured.problems if p)),
    )
