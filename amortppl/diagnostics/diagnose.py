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
    """Is the guide calibrated? A row a latent entry, on the unconstrained scale.

    Args:
        guide, datasets, draws, seed, around: as in `calibrate`.
        report: an HTML file to write as well.

    Returns:
        Columns `sbc_p` (uniformity of ranks, corrected for how many latents), `coverage_50` and
        `coverage_90`, `z_score` (root mean square of (mean - truth) / sd, 1 when calibrated),
        `contraction` (1 - posterior / prior variance, the median), `ok`, `bias` (mean of (mean -
        truth) / sd), `recovery` (rank correlation of mean and
        truth: a few datasets with draws far out would decide the usual one),
        `log_density` (mean log density of the truth, Gaussian), `region` (where calibration is
        worst) and `region_p` (there; corrected for latents and regions). Attributes: p-values of
        all latents together, how many datasets were left out because draws are not finite (`lost`),
        and how many have a latent's sd above three of its prior's (`wide`). A calibrated guide has
        a row that is not `ok` in at most 4% of runs, and fails together in 1%.

    Raises:
        DataError: as `calibrate`.
        OSError: the report cannot be written.
    """
    found = calibrate(guide, datasets, draws, seed, around)
    if report is not None:
        from amortppl.diagnostics.calibration_page import write_calibration

        write_calibration(found, report)
    return found.table
