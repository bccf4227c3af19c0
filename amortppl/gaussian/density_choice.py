"""The density in the whitened frame that was measured best for a kind of task."""

from amortppl.gaussian.plate_detection import in_plates
from amortppl.task.abstract import AbstractTask

MANY = 50
"""Latents beyond which those learned from data alone are read out as independent."""


def best_density(task: AbstractTask, signals: tuple[str, ...]) -> str:
    """The name of the density that was measured best for such a task.

    - `mixture`: as accurate on linear regression as `triangular`; at 8 rows k-hat passes on 49 of
      50 datasets where that passes on 35.
    - `triangular`: for a block (eight schools: error of the mean 0.11 sd by one map, 0.17 by a
      mixture of eight, after 600 steps) and for latents in plates, whose scale bends the posterior.
    - `spline_flow`: for data alone, where no frame makes the posterior simple.
    - `diagonal`: for data alone and more than `MANY` latents (calibrated for the 120 latents of
      causal_order). For crossed and nested groups that are not drawn given their scales
      (`amortppl.gaussian.conditional_guide`), with a network that all latents share
      (`amortppl.gaussian.shared_correction`): held-out loss of `crossed` after 150 updates from one
      pool of 1,024 tasks 1.9, still falling; `triangular` and `diagonal` by a network of all
      numbers 6.2 and 2.3 at least, after 25 to 50 updates, and rising.

    Args:
        task: the task.
        signals: what a step sees; see `inference/parametric.py`.
    """
    if task.several and "curvature" in signals:
        return "diagonal"
    if signals == ("data",):
        return "diagonal" if task.latents.size > MANY else "spline_flow"
    return "triangular" if task.block or in_plates(task).any() else "mixture"
