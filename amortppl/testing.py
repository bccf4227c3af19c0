"""Helpers for the tests of models and inferences, with a stated rate of false alarms."""

from collections.abc import Mapping, Sequence
from typing import Any

from amortppl.errors import DataError
from amortppl.task.abstract import AbstractTask

__all__ = ["assert_calibrated"]


def assert_calibrated(
    infer: Any,
    task: AbstractTask,
    datasets: int = 200,
    draws: int = 200,
    seed: int = 0,
    *,
    false_alarm: float = 0.001,
    rows: int | Sequence[int] | None = None,
    around: Any = None,
    options: Mapping[str, Any] | None = None,
    vmap: bool = False,
) -> None:
    """Fails where an inference is not calibrated over simulated datasets.

    All p-values of `ap.calibrate` (of latents, of regions, of all latents together) are joined to
    one, which is below a for a calibrated inference with probability at most a. The assertion
    fails where it is below `false_alarm`, or where the inference has no draws for a dataset.

    Args:
        infer, task: as of `ap.calibrate`: a function `(data, key) -> draws by latent`, a name or a
            guide.
        datasets: simulated; more of them find smaller faults.
        draws: for each, before thinning.
        seed: with a fixed seed the test gives the same result at every run.
        false_alarm: the probability, over seeds, that a calibrated inference fails, at most 0.05.
        rows, around, options, vmap: as of `ap.calibrate`.

    Raises:
        AssertionError: it is not calibrated; the message has the table.
        DataError: as of `ap.calibrate`.

    Example:
        >>> import amortppl as ap
        >>> task = ap.model("gaussian_mean", rows=(4, 8))
        >>> ap.testing.assert_calibrated("laplace", task, datasets=60)  # exact for this model
    """
    from amortppl.diagnostics.calibrate import calibrate_inference
    from amortppl.diagnostics.inferences.named import find_inference

    if not 0 < false_alarm <= 0.05:
        raise DataError(f"false_alarm: expected a probability up to 0.05, got {false_alarm!r}")
    inference = find_inference(task, infer, options, vmap)
    calibration = calibrate_inference(task, inference, datasets, draws, seed, rows, around)
    lost = len(calibration.measurements.lost)
    if calibration.p_value >= false_alarm and not lost:
        return
    table = calibration.table.iloc[:, :7].to_string(float_format="{:.3f}".format)
    reason = f"p = {calibration.p_value:.2g}, below {false_alarm:g}"
    if lost:
        reason = f"no draws for {lost} of {datasets} datasets {dict(calibration.problems) or ''}"
    raise AssertionError(
        f"{calibration.inference} is not calibrated on {task.name}: {reason}\n{table}"
    )
