"""Calibration of a guide over simulated datasets, as a table and a page."""

from pathlib import Path
from typing import Any

import pandas as pd

from amortppl.diagnostics.calibration import calibrate
from amortppl.training.trained import TrainedMethod


def diagnose(
    guide: TrainedMethod,
    datasets: int = 200,
    draws: int = 400,
    seed: int = 0,
    *,
    around: Any = None,
    report: str | Path | None = None,
) -> pd.DataFrame:
    """A guide's calibration over simulated datasets, a row a latent entry.

    Latents are on the unconstrained scale. The columns are

    - `sbc_p`: p-value of uniform ranks of the truth among the draws (simulation-based calibration),
      corrected for the number of latents,
    - `coverage_50`, `coverage_90`: how often central intervals hold the truth,
    - `z_score`: root mean square of (mean - truth) / sd, 1 when calibrated,
    - `contraction`: 1 - posterior variance / prior variance, the median over datasets,
    - `ok`: whether the checks of this latent passed,
    - `bias`: mean of (mean - truth) / sd,
    - `recovery`: rank correlation of mean and truth,
    - `log_density`: mean log density of the truth under a Gaussian of the posterior's moments,
    - `region`, `region_p`: the region where calibration is worst and its p-value there, corrected
      for the numbers of latents and regions.

    In the table's `attrs` are p-values of all latents together, how many datasets were left out
    because draws are not finite (`lost`), and how many have a latent whose sd is above three of its
    prior's (`wide`).

    A calibrated guide has a row that is not `ok` in at most 4% of runs, and fails for all latents
    together in 1%. Talts et al. 2018, arXiv 1804.06788; the module `calibration` has the others.

    Args:
        guide: the guide.
        datasets: T, the number of datasets, at least 20, all in one compiled call.
        draws: S, the number of draws for each dataset, at least 20.
        seed: the seed of the simulations and the draws.
        around: an observed dataset (a dict of arrays or a DataFrame), to check the guide around it
            (posterior simulation-based calibration).
        report: an HTML file to write as well.

    Returns:
        The table.

    Raises:
        DataError: too few datasets or draws, `around` does not fit the task, or draws of most
            datasets are not finite.
        OSError: the report cannot be written.

    Example:
        >>> import amortppl as ap
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), "laplace", progress=False)
        >>> table = ap.diagnose(guide, datasets=20, draws=50)
        >>> table.index.tolist()
        ['mean']
    """
    calibration = calibrate(guide, datasets, draws, seed, around)
    if report is not None:
        from amortppl.diagnostics.calibration_page import write_calibration

        write_calibration(calibration, report)
    return calibration.table
