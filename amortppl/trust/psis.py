"""Pareto-smoothed importance sampling: does the guide cover the posterior of this dataset?

Vehtari, Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling", JMLR 25(72).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from amortppl.trust.pareto import FEWEST, TOGETHER, log_sum_exp, smooth_tails

GOOD, USABLE = 0.5, 0.7
"""k-hat below which importance weights have finite variance, and up to which PSIS is reliable."""

FLOOR = -500.0
"""Log weights below this, relative to the largest, are equal to it: they weigh nothing."""

NOISE = 0.1
"""Deviation of log weights below which (importance sample size above 99% of the draws) the guide is
the posterior for all purposes; the tail is then rounding of log densities, and k-hat at most 0."""

SHIFTED, SPREAD = 0.3, float(np.log(4 / 3))
"""Change by weights of a mean, in sds, and of the logarithm of a sd, beyond which draws as they are
mislead, whatever the errors of the weights.
"""

MOVED, MEAN_ERRORS, SD_ERRORS = 0.1, 4.0, 3.0
"""The same for both where weights tell it surely: a mean by so many standard errors, a sd by so
many standard errors 1 / sqrt(importance sample size).

Weights of draws with wrong means show a part only of what is missing: Gaussians at the mode of
GARCH were up to 0.25 sds off, and weights of 4,000 draws moved means by 0.10 to 0.18 sds. Of
Gaussians at the mode of logarithms of gammas (0.16 to 0.28 sds off, one to four latents, 400 to
4,000 draws) all are marked. Of Gaussians with right means and sds beside a Student t (8, 15 and 30
degrees of freedom, 300 each, 400 and 1,000 draws) none is with 3 latents; with 10 2 of 1,582 whose
k-hat is below 0.5 and 8 of 204 others, with 30 3 of 679 and 34 of 678.
"""


class Check(NamedTuple):
    """k-hat (T,), smoothed normalised log weights (T, S), and importance sample size (T,)."""

    khat: np.ndarray
    log_weights: np.ndarray
    sample_size: np.ndarray


def check(log_joint: np.ndarray, log_guide: np.ndarray) -> Check:
    """PSIS of draws from a guide against the model's own log joint.

    Args:
        log_joint: log p(theta_s, D), shape (T, S); NaN for a model without a likelihood, and
            then k-hat is NaN.
        log_guide: log q(theta_s | D), shape (T, S).
    """
    ratios = np.asarray(log_joint, np.float64) - np.asarray(log_guide, np.float64)
    if np.isnan(log_joint).all():
        level = np.full(ratios.shape, -np.log(ratios.shape[-1]))
        return Check(np.full(ratios.shape[:-1], np.nan), level, np.full(ratios.shape[:-1], np.nan))
    ratios = np.nan_to_num(ratios, nan=-np.inf, posinf=-np.inf, neginf=-np.inf)
    peak = np.max(ratios, -1, keepdims=True)
    ratios = np.maximum(ratios - np.where(np.isfinite(peak), peak, 0.0), FLOOR)
    weights, khat = _smooth(ratios)
    weights = weights - log_sum_exp(weights)
    return Check(khat, weights, 1 / np.exp(2 * weights).sum(-1))


def khat_of(log_weights: np.ndarray) -> np.ndarray:
    """k-hat (T,) of log weights (T, N) up to constants; infinite where none is finite."""
    finite = np.isfinite(log_weights).any(-1)
    khat = check(np.where(finite[:, None], log_weights, 0.0), np.zeros(log_weights.shape)).khat
    return np.where(finite, khat, np.inf)


class MomentShift(NamedTuple):
    """Of T datasets the largest change by importance weights of a latent's mean, in sds, and of the
    logarithm of a sd,
    on the unconstrained scale, (T,); NaN without weights. And which latent's sd that is, (T,).

    A few draws far out hardly weigh: k-hat, which looks at the largest weights, does not see them,
    plain sds do.
    """

    mean: np.ndarray
    sd: np.ndarray
    latent: np.ndarray


def moment_shifts(vectors: Sequence[np.ndarray], result: Check) -> MomentShift:
    """What weights change of the moments of draws (T, S, P)."""
    vectors, weights = np.asarray(vectors), result.log_weights
    parts = [
        moment_shift(vectors[i : i + TOGETHER], weights[i : i + TOGETHER])
        for i in range(0, len(vectors), TOGETHER)
    ]
    means, sds = (np.abs(np.concatenate(each)) for each in zip(*parts, strict=True))
    has_khat = ~np.isnan(result.khat)
    shift, scale = (np.where(has_khat, moved.max(1), np.nan) for moved in (means, sds))
    return MomentShift(shift, scale, sds.argmax(1))


def moment_shift(vectors: np.ndarray, log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Change by weights of each mean (..., P), in sds, and of the logarithm of each sd (..., P), of
    draws (..., S, P).
    """
    weights = np.exp(log_weights)[..., None]
    with np.errstate(all="ignore"):  # of draws that are not finite
        along = np.ascontiguousarray(np.swapaxes(vectors, -1, -2), np.float64)
        along = along - along.mean(-1, keepdims=True)
        sd = np.sqrt(np.square(along).mean(-1)) + 1e-12
        centre = along @ weights
        spread = np.sqrt(np.square(along - centre) @ weights)[..., 0] + 1e-12
        return centre[..., 0] / sd, np.log(spread / sd)


def misleading_notes(
    result: Check, moved: MomentShift, labels: Sequence[str], remedy: str = "trust='ladder'"
) -> list[list[str]]:
    """A note for each dataset whose draws mislead as they are, where their weights can be relied
    on; it names the weights and another remedy.
    """
    template = (
        "plain draws mislead: weights change the sd of {} {:.3g}-fold, a mean by {:.2g} sds; use "
        f"`log_weight`, or {remedy}"
    )
    return [
        [template.format(labels[latent], np.exp(sd), mean)]
        if _misleads(khat, mean, sd, size, result.log_weights.shape[-1])
        else []
        for khat, size, mean, sd, latent in zip(
            result.khat, result.sample_size, *moved, strict=True
        )
    ]


def _misleads(khat: float, mean: float, sd: float, size: float, draws: float) -> bool:
    """Whether S = `draws` with weights worth `size` mislead as they are. Weighted and plain mean
    are of the same draws, so that the error of their difference is sqrt(1 / size - 1 / S) sds.
    """
    paired = np.sqrt(max(1 / size - 1 / draws, 0.0))
    shift = min(SHIFTED, max(MOVED, MEAN_ERRORS * paired))
    spread = min(SPREAD, max(MOVED, SD_ERRORS / np.sqrt(size)))
    return bool(khat < USABLE and (mean > shift or sd > spread))


def _smooth(ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed log weights (T, S) and k-hat (T,); infinite when a few draws hold all weight.

    Where the tail has a few distinct weights no Pareto fits: they are rounding, or nearly all draws
    lie at the floor.
    """
    is_flat = np.std(ratios, -1) < NOISE
    weights, khat = smooth_tails(ratios)
    khat = np.where(np.isnan(khat), np.inf, khat)
    khat = np.where(is_flat, np.where(np.isinf(khat), 0.0, np.minimum(khat, 0.0)), khat)
    equal, few = np.ptp(ratios, -1) < 1e-8, np.sum(ratios > FLOOR / 2, -1) < FEWEST
    khat = np.where(few, np.inf, np.where(equal, 0.0, khat))
    return np.where((few | equal)[:, None], ratios, weights), khat


def verdict(
    khat: float,
    mean_moved: float = np.nan,
    sd_moved: float = np.nan,
    sample_size: float = np.inf,
    draws: float = np.inf,
) -> str:
    """The verdict of k-hat, and of how far the weights of so many draws, worth `sample_size`, move
    means and sds (NaN where that is not known), in words.
    """
    if np.isnan(khat):
        return "not checked: no k-hat was computed, the warnings say why"
    if _misleads(khat, mean_moved, sd_moved, sample_size, draws):
        return "usable by importance weights only: plain draws mislead"
    if khat < GOOD:
        return "good: the guide covers the posterior"
    if khat < USABLE:
        return "usable: use the importance weights for careful work"
    return "not reliable: the guide misses part of the posterior; run NUTS started from this guide"
