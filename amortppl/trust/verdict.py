"""One verdict on an answer from all its checks: reliable or not, and in words.

Reports, tables and the command line all use it, so that they agree.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from amortppl.trust import psis

MISSED = float(np.log(1.3))
"""Change of the logarithm of a sd by mass where there are no draws, above which an answer is not
reliable: 2% of the posterior at 6 sds from the mean."""


GOOD = ("good", "usable:")
"""How the verdict on a reliable answer begins."""


class Figures(NamedTuple):
    """What is known of one answer.

    Attributes:
        khat: NaN where there is none.
        mean_moved, sd_moved: the largest changes by importance weights of a mean, in sds, and of
            the logarithm of a sd; NaN where not known.
        finite: whether all draws are.
        agrees: whether the log joint behind k-hat is the plain model's (`amortppl.trust.parity`).
        checked: whether it was compared.
        passed: whether a rung of the ladder passed; None where it was not climbed.
        source: the rung that the draws are from.
        missed: the change of the logarithm of a sd by mass that was seen where there are no draws
            (`amortppl.trust.missed_modes`); NaN where it was not looked for.
        sample_size: draws that the weights are worth; infinite where not known.
        draws: how many there are; infinite where not known.
    """

    khat: float = np.nan
    mean_moved: float = np.nan
    sd_moved: float = np.nan
    finite: bool = True
    agrees: bool = True
    passed: bool | None = None
    source: str = "amortized"
    checked: bool = True
    missed: float = np.nan
    sample_size: float = np.inf
    draws: float = np.inf


def is_reliable(figures: Figures) -> bool:
    """Whether the draws can be used as they are; False where nothing was checked."""
    return verdict(figures).startswith(GOOD)


def verdict(figures: Figures) -> str:
    """The verdict on an answer, in words; the worst of its figures decides."""
    if not figures.finite:
        return "not reliable: some draws are not finite"
    if not figures.checked and (figures.passed or not np.isnan(figures.khat)):
        return "not compared with the model: the warnings say why"
    if figures.checked and not figures.agrees:
        return (
            "not reliable: the log joint that was checked is not the model's on these data; the "
            "warnings say what differs"
        )
    if figures.missed > MISSED:
        return "not reliable: another mode or a far tail of the posterior has no draws"
    if figures.passed is not None:
        passed = f"good: {figures.source} passed its check"
        return passed if figures.passed else "not reliable: no rung of the ladder passed"
    moved = figures.mean_moved, figures.sd_moved
    return psis.verdict(figures.khat, *moved, figures.sample_size, figures.draws)


def all_finite(values: Iterable[np.ndarray]) -> bool:
    """Whether all numbers are finite."""
    return all(bool(np.isfinite(v).all()) for v in values)


def verdicts(
    check: psis.Check,
    moved: psis.MomentShift,
    finite: np.ndarray,
    agrees: np.ndarray,
    checked: np.ndarray,
    missed: np.ndarray,
    passed: np.ndarray | None = None,
) -> list[str]:
    """`verdict` on T datasets; all arrays (T,)."""
    climbed = [None] * len(finite) if passed is None else [bool(p) for p in passed]
    each = zip(check.khat, moved.mean, moved.sd, finite, agrees, climbed, strict=True)
    sizes, draws = check.sample_size, check.log_weights.shape[-1]
    return [
        verdict(Figures(*f, checked=bool(c), missed=float(m), sample_size=float(size), draws=draws))
        for f, c, m, size in zip(each, checked, missed, sizes, strict=True)
    ]


def are_reliable(each_verdict: Iterable[str]) -> np.ndarray:
    """`is_reliable` by verdicts, (T,)."""
    return np.array([v.startswith(GOOD) for v in each_verdict], bool)
