"""Are probabilities of models calibrated? A table over datasets whose model is known."""

import numpy as np
import pandas as pd
from scipy import stats

BINS = 10


def calibration_table(
    probabilities: np.ndarray, truth: np.ndarray, names: list[str]
) -> pd.DataFrame:
    """A row a model; see `ModelChoice.diagnose`.

    Args:
        probabilities: of T datasets, (T, K).
        truth: the number of the model that made each, (T,).
        names: of the models.
    """
    made = truth[:, None] == np.arange(len(names))
    best = probabilities.argmax(1)
    recognised = [
        float(np.mean(best[own] == k)) if own.any() else np.nan for k, own in enumerate(made.T)
    ]
    p = [calibration_p(q, own) for q, own in zip(probabilities.T, made.T, strict=True)]
    table = pd.DataFrame(
        {
            "share": made.mean(0),
            "probability": probabilities.mean(0),
            "recognised": recognised,
            "calibration_error": [
                calibration_error(q, own) for q, own in zip(probabilities.T, made.T, strict=True)
            ],
            "calibration_p": np.minimum(np.array(p) * len(names), 1.0),
        },
        index=pd.Index(names, name="model"),
    )
    own = np.maximum(probabilities[np.arange(len(truth)), truth], 1e-300)
    table.attrs["log_score"] = float(np.mean(np.log(own)))
    with np.errstate(invalid="ignore"):
        table.attrs["confusion"] = (made.T @ probabilities / made.sum(0)[:, None]).tolist()
    return table


def calibration_p(probability: np.ndarray, happened: np.ndarray) -> float:
    """A p-value of the calibration of probabilities of one event, T times.

    Two z-tests joined by Bonferroni's rule: of the sum of y - p (too high or too low on the whole),
    and of the sum of (y - p) (1 - 2p) (too sure or not sure enough; Spiegelhalter 1986,
    "Probabilistic prediction in patient management and clinical trials").

    >>> always = np.full(1000, 0.5)
    >>> calibration_p(always, np.arange(1000) % 2 == 0)
    1.0
    >>> calibration_p(np.full(1000, 0.9), np.arange(1000) % 2 == 0) < 1e-6
    True
    """
    p, spread = probability, probability * (1 - probability)
    each = []
    for weight in (np.ones_like(p), 1 - 2 * p):
        total, variance = np.sum(weight * (happened - p)), np.sum(weight**2 * spread)
        each.append(1.0 if variance < 1e-12 else 2 * stats.norm.sf(abs(total) / np.sqrt(variance)))
    return float(min(1.0, 2 * min(each)))


def calibration_error(probability: np.ndarray, happened: np.ndarray) -> float:
    """Mean distance between probabilities and frequencies, over `BINS` bins of equal counts.

    Naeini, Cooper and Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian
    binning". Of calibrated probabilities it is about sqrt(BINS / T) / 3.
    """
    order = np.argsort(probability, kind="stable")
    bins = [b for b in np.array_split(order, BINS) if len(b)]
    apart = [len(b) * abs(np.mean(probability[b]) - np.mean(happened[b])) for b in bins]
    return float(sum(apart) / len(probability))
