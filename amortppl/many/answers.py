"""The posteriors of some datasets as rows of a table: one row a dataset and latent, or a draw."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amortppl.many.groups import Group
from amortppl.many.keys import numbers_of
from amortppl.posterior.axis_names import AxisNames
from amortppl.posterior.draws import draw
from amortppl.training.trained import TrainedMethod
from amortppl.trust.attempt import Ladder
from amortppl.trust.examine import examine

TOGETHER = 64
"""Datasets whose draws are summarised at once: they stay in a core's cache."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""What the table of summaries shows of each latent, as `q5`, `q25`, ..."""


class Answers(NamedTuple):
    """The posteriors of T datasets.

    Attributes:
        names: of the datasets.
        labels: of the entries of latents and deterministic sites, L.
        values: draws of them in their own space, (T, S, L).
        log_weights: smoothed, normalised importance weights of the draws, (T, S).
        checks: rows, k-hat, verdict, whether its rows and values lie in the range trained
            on, and source of each dataset, each (T,).
    """

    names: list[Any]
    labels: list[str]
    values: np.ndarray
    log_weights: np.ndarray
    checks: dict[str, np.ndarray]


def answer(
    guide: TrainedMethod,
    groups: Sequence[Group],
    draws: int,
    seed: int,
    climb: Ladder | None,
    together: int | None = None,
) -> Answers:
    """Draws of some datasets with their checks, as `Guide.infer` has them.

    Args:
        guide: the guide.
        groups: the datasets.
        draws: S for each.
        seed: of the draws; each dataset's own are made from it and from the dataset's name.
        climb: the ladder, or None for the guide's own answer.
        together: datasets in one compiled call, see `amortppl.posterior.padding.chunks`.
    """
    names, datasets = [g.name for g in groups], [g.dataset for g in groups]
    outside = guide.notes(datasets)
    drawn = draw(guide.method, datasets, draws, seed, numbers_of(names), together)
    result = examine(guide, datasets, drawn, seed, climb, None, together)
    labels, values = _side_by_side(AxisNames(guide, datasets[0]), result.values)
    checks = {
        "rows": np.array([d.rows for d in datasets]),
        "khat": np.asarray(result.check.khat),
        "reliable": result.stats["reliable"],
        "in_range": np.array([not notes for notes in outside]),
        "source": result.stats.get("source", np.full(len(names), "amortized")),
    }
    return Answers(names, labels, values, np.asarray(result.check.log_weights), checks)


def summarize(answers: Answers, by: str) -> pd.DataFrame:
    """One row for each dataset and entry of a latent: moments, quantiles, and the checks."""
    many, size = len(answers.names), len(answers.labels)
    parts = range(0, many, TOGETHER)
    means, sds, *quantiles = (
        np.concatenate(each).ravel()
        for each in zip(*(_figures(answers.values[i : i + TOGETHER]) for i in parts), strict=True)
    )
    columns: dict[str, Any] = {
        by: np.repeat(pd.Series(answers.names).to_numpy(), size),
        "latent": np.tile(np.array(answers.labels, object), many),
        "mean": means,
        "sd": sds,
    }
    columns |= {f"q{100 * q:g}": v for q, v in zip(QUANTILES, quantiles, strict=True)}
    return pd.DataFrame(columns | {n: np.repeat(v, size) for n, v in answers.checks.items()})


def _figures(values: np.ndarray) -> list[np.ndarray]:
    """Means, sds and `QUANTILES` of draws (T, S, L), each (T, L)."""
    along = np.ascontiguousarray(values.swapaxes(1, 2))
    wide = along.astype(np.float64)
    means = wide.mean(2)
    with np.errstate(all="ignore"):  # of draws that are not finite
        sds = np.sqrt(np.square(wide - means[..., None]).mean(2))
    return [means, sds, *_quantiles(along)]


def _quantiles(along: np.ndarray) -> list[np.ndarray]:
    """`QUANTILES` of draws (T, L, S), each (T, L), by one sort: a third of `np.quantile`'s cost."""
    ordered = np.sort(along, 2)
    missing, last, quantiles = np.isnan(ordered[..., -1]), ordered.shape[2] - 1, []
    for quantile in QUANTILES:
        below, share = divmod(quantile * last, 1)
        places = (min(int(below) + i, last) for i in (0, 1))
        first, second = (ordered[..., i].astype(np.float64) for i in places)
        whole = (first == second) | (share == 0)
        with np.errstate(invalid="ignore"):  # of draws that are not finite
            between = np.where(whole, first, first + (second - first) * share)
        quantiles.append(np.where(missing, np.nan, between))
    return quantiles


def list_draws(answers: Answers, by: str) -> pd.DataFrame:
    """One row for each dataset and draw: a column for each entry of a latent, and the weights."""
    many, draws, _ = answers.values.shape
    columns: dict[str, Any] = {
        by: np.repeat(pd.Series(answers.names).to_numpy(), draws),
        "draw": np.tile(np.arange(draws), many),
    }
    values = answers.values.astype(np.float64)
    columns |= {n: values[..., i].ravel() for i, n in enumerate(answers.labels)}
    columns["log_weight"] = answers.log_weights.ravel()
    return pd.DataFrame(columns | {n: np.repeat(v, draws) for n, v in answers.checks.items()})


def _side_by_side(
    names: AxisNames, each: Sequence[Mapping[str, np.ndarray]]
) -> tuple[list[str], np.ndarray]:
    """Labels, and the draws of all latents and deterministic sites, (T, S, L)."""
    sites = {n: np.stack([e[n] for e in each]) for n in each[0]}
    labels = [label for n, v in sites.items() for label in _labels(names, n, v.shape[2:])]
    flat = [v.reshape(*v.shape[:2], -1) for v in sites.values()]
    return labels, np.concatenate(flat, -1)


def _labels(names: AxisNames, name: str, shape: tuple[int, ...]) -> list[str]:
    """`noise`; `slope[age]`, `slope[bmi]`."""
    if not shape:
        return [name]
    axes = zip(names.of(name), shape, strict=True)
    places = [names.coords.get(axis, range(size)) for axis, size in axes]
    return [f"{name}[{', '.join(map(str, at))}]" for at in product(*places)]
