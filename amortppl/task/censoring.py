"""Censored observations: NumPyro's wrappers score them, and do not simulate them.

`RightCensoredDistribution(base, censored)` and its kin sample from `base` whatever `censored` says,
so that in simulated tasks the indicator has nothing to do with the value: a row is marked as
censored at a number that no censoring made. Such simulations are no data of the likelihood that
scores them, and whatever learns from them is wrong.
"""

from typing import Any

from amortppl.errors import ModelError

WRAPPERS = ("RightCensoredDistribution", "LeftCensoredDistribution", "IntervalCensoredDistribution")


def refuse_censored(model: str, name: str, fn: Any) -> None:
    """Refuses an observed site whose simulations its censoring does not touch.

    Raises:
        ModelError: saying how to write it.
    """
    while type(fn).__name__ not in WRAPPERS:
        if not hasattr(fn, "base_dist"):
            return
        fn = fn.base_dist
    kind = type(fn).__name__
    raise ModelError(
        f"{model}: the site {name!r} is a {kind}, which simulates values as if nothing were "
        "censored, whatever its indicator says; tasks simulated so are not the data that it "
        "scores. Pass the limit as an input, and write a distribution whose `sample` is "
        "min(t, limit) and whose `log_prob` at the limit is log P(t > limit), as in "
        "docs/censored.md"
    )
