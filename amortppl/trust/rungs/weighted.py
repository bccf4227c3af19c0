"""The rung that resamples the draws at hand by their importance weights.

Where a dataset's draws fail only because weights move a mean or a sd, the weights say what is
right, and no density is evaluated: of a thousand refits this answers all but a few.
"""

import numpy as np

from amortppl.errors import ModelError
from amortppl.trust.attempt import Attempt, Climb
from amortppl.trust.rungs.importance import systematic

WORTH = 0.8
"""Least share of the draws that they are worth by their weights."""


def resample_by_weights(run: Climb, places: list[int]) -> list[Attempt]:
    """The draws of each dataset, taken as often as their smoothed weights say.

    Passes with a k-hat below the ladder's and draws worth `WORTH` of their number.

    Raises:
        ModelError: latents lie in plates. Draws of all of them at once miss the tails of small
            standard deviations, and k-hat does not always tell.
    """
    if getattr(run.guide.method, "plates", None):
        raise ModelError("latents lie in plates, whose scales these draws may miss")
    return [_resampled(run, place) for place in places]


def _resampled(run: Climb, place: int) -> Attempt:
    best = run.best[place]
    kept = systematic(best.log_weights, run.draws, run.seed + place)
    failed = "" if best.khat < run.ladder.khat else f"k-hat {best.khat:.2f}"
    failed = failed or ("" if best.ess >= WORTH * run.draws else f"draws worth {best.ess:.0f}")
    drawn = (best.vectors[kept], best.log_guide[kept], best.log_joint[kept])
    level = np.full(run.draws, -np.log(run.draws))
    return Attempt(*drawn, level, best.khat, best.ess, np.nan, failed)
