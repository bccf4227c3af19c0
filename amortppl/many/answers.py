"""The posteriors of some datasets as rows of a table: one row a dataset and latent, or a draw."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from amortppl.data.dataset import Dataset
from amortppl.many.groups import Group
from amortppl.many.keys import keys_of
from amortppl.method import Method
from amortppl.posterior.axis_names import AxisNames
from amortppl.posterior.draws import Drawn, constrain, draw
from amortppl.training.trained import TrainedMethod
from amortppl.trust import ladder, psis
from amortppl.trust.attempt import Ladder
from amortppl.trust.parity_notes import judge_parity
from amortppl.trust.verdict import are_reliable

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""What the table of summaries shows of each latent, as `q5`, `q25`, ..."""


class Answers(NamedTuple):
    """The posteriors of T datasets.

    Attributes:
        names: of the datasets.
        labels: of the entries of latents and deterministic sites, L.
        values: draws of them in their own space, (T, S, L).
        log_weights: smoothed, normalised importance weights of the draws, (T, S).
        checks: rows, k-hat, verdict and source of each dataset, each (T,).
    """

    names: list[Any]
    labels: list[str]
    values: np.ndarray
    log_weights: np.ndarray
    checks: dict[str, np.ndarray]


def answer(
    guide: TrainedMethod, groups: Sequence[Group], draws: int, seed: int, climb: Ladder | None
) -> Answers:
    """Draws of some datasets with their checks, as `Guide.infer` has them.

    Args:
        guide: the guide.
        groups: the datasets.
        draws: S for each.
        seed: of the draws; each dataset's own are made from it and from the dataset's name.
        climb: the ladder, or None for the guide's own answer.
    """
    names, datasets = [g.name for g in groups], [g.dataset for g in groups]
    drawn = draw(guide.method, datasets, draws, seed, keys_of(names, seed))
    check = psis.check(np.asarray(drawn.log_joint), np.asarray(drawn.log_guide))
    climbed: Mapping[str, np.ndarray] = {"source": np.full(len(names), "amortized")}
    if climb is not None:
        drawn, check, climbed, _ = ladder.climb(guide, datasets, drawn, check, seed, climb)
    moved = psis.moment_shifts(drawn.vectors, check)
    parity, _ = judge_parity(guide.task, datasets, drawn)
    labels, values = _values(guide, datasets, drawn)
    finite = np.isfinite(values).all((1, 2))
    compared = (parity["log_joint_agrees"], parity["log_joint_checked"])
    checks = {
        "rows": np.array([d.rows for d in datasets]),
        "khat": np.asarray(check.khat),
        "reliable": are_reliable(check, moved, finite, *compared, climbed.get("reliable")),
        "source": climbed["source"],
    }
    return Answers(names, labels, values, np.asarray(check.log_weights), checks)


def summarize(answers: Answers, by: str) -> pd.DataFrame:
    """One row for each dataset and entry of a latent: moments, quantiles, and the checks."""
    many, size = len(answers.names), len(answers.labels)
    quantiles = np.quantile(answers.values, QUANTILES, axis=1)
    columns: dict[str, Any] = {
        by: np.repeat(pd.Series(answers.names).to_numpy(), size),
        "latent": np.tile(np.array(answers.labels, object), many),
        "mean": answers.values.mean(1).ravel(),
        "sd": answers.values.std(1).ravel(),
    }
    columns |= {f"q{100 * q:g}": v.ravel() for q, v in zip(QUANTILES, quantiles, strict=True)}
    return pd.DataFrame(columns | {n: np.repeat(v, size) for n, v in answers.checks.items()})


def list_draws(answers: Answers, by: str) -> pd.DataFrame:
    """One row for each dataset and draw: a column for each entry of a latent, and the weights."""
    many, draws, _ = answers.values.shape
    columns: dict[str, Any] = {
        by: np.repeat(pd.Series(answers.names).to_numpy(), draws),
        "draw": np.tile(np.arange(draws), many),
    }
    columns |= {n: answers.values[..., i].ravel() for i, n in enumerate(answers.labels)}
    columns["log_weight"] = answers.log_weights.ravel()
    return pd.DataFrame(columns | {n: np.repeat(v, draws) for n, v in answers.checks.items()})


def _values(
    guide: TrainedMethod, datasets: Sequence[Dataset], drawn: Drawn
) -> tuple[list[str], np.ndarray]:
    """Labels, and the draws of all latents and deterministic sites side by side, (T, S, L)."""
    vectors = np.asarray(drawn.vectors)
    if guide.task.row_free:
        first = {n: np.stack([d.arrays[n][:1] for d in datasets]) for n in datasets[0].arrays}
        sites = {n: np.asarray(v) for n, v in _constrain(guide.method, vectors, first).items()}
    else:
        pairs = zip(vectors, datasets, strict=True)
        each = [constrain(guide.method, v, d) for v, d in pairs]
        sites = {n: np.stack([e[n] for e in each]) for n in each[0]}
    names = AxisNames(guide, datasets[0])
    labels = [label for n, v in sites.items() for label in _labels(names, n, v.shape[2:])]
    flat = [v.reshape(*v.shape[:2], -1) for v in sites.values()]
    return labels, np.concatenate(flat, -1, dtype=np.float64)


def _labels(names: AxisNames, name: str, shape: tuple[int, ...]) -> list[str]:
    """`noise`; `slope[age]`, `slope[bmi]`."""
    if not shape:
        return [name]
    axes = zip(names.of(name), shape, strict=True)
    places = [names.coords.get(axis, range(size)) for axis, size in axes]
    return [f"{name}[{', '.join(map(str, at))}]" for at in product(*places)]


@eqx.filter_jit
def _constrain(method: Method, vectors: Array, data: dict[str, Array]) -> dict[str, Array]:
    """Sites at the draws (T, S, P) of T datasets, given a row of each."""
    one = jax.vmap(method.task.constrain, (0, None))
    return jax.vmap(one)(jnp.asarray(vectors), data)
