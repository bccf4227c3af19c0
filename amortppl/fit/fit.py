"""`ap.fit`: a checked posterior of the data at hand, with nothing trained."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import jax.random as jr
import numpy as np

from amortppl.data.columns import Columns
from amortppl.data.dataset import read
from amortppl.errors import DataError
from amortppl.fit.data_task import Arrays, arrays_by_argument, task_of_data
from amortppl.fit.frame_method import FrameAlone
from amortppl.fit.predictions import add_predictions
from amortppl.formula.formula import Formula, formula
from amortppl.guide.guide import Guide
from amortppl.guide.infer import infer
from amortppl.guide.options import Keywords, ladder_of
from amortppl.runtime.arguments import expect_draws, expect_seed
from amortppl.runtime.compilation import run_once
from amortppl.runtime.program_cache import use_program_cache
from amortppl.training.ranges import Ranges
from amortppl.training.record import Record
from amortppl.trust.attempt import Ladder

if TYPE_CHECKING:
    import xarray


RUNGS = ("psis", "refined", "svi", "nuts")
"""Rungs that follow the frame: importance sampling first, whose program is the shortest."""


def fit(
    model: Callable[..., Any] | str | Formula,
    data: Any = None,
    draws: int = 1000,
    seed: int = 0,
    *,
    family: str = "gaussian",
    link: str | None = None,
    priors: Mapping[str, Any] | None = None,
    missing: str = "error",
    weights: str | None = None,
    columns: Columns | None = None,
    log_likelihood: bool | None = None,
    predictive: bool | None = None,
    trust: str | Ladder | None = "ladder",
    keep_amortizing: bool = False,
    **keywords: Unpack[Keywords],
) -> Any:
    """Posterior of one dataset, or of a list of datasets, with nothing trained.

    A Gaussian frame is placed by derivatives of the log joint (Newton's method to the mode, groups
    integrated out, sweeps of Gaussian variational inference). Its draws are checked by importance
    weights. Where the check fails, the ladder climbs to the cheapest rung that passes: adaptive
    importance sampling, more refinement, variational inference, NUTS.

    Args:
        model: a NumPyro or Pyro model, as `ap.Task` takes it. Its arguments that default to None
            are observations. Shapes, types and the number of rows are those of the data. Or a
            formula like `"y ~ x + (1 | g)"`, or what `ap.formula` returned.
        data: a dict of arrays by argument, a DataFrame, or a list of these (the result then has a
            leading dimension `task`). Of a formula, the table.
        draws: S, the number of draws for each dataset.
        seed: the seed of the draws.
        family, link, priors, missing, weights: of a formula, as `ap.formula` takes them.
        columns: for DataFrames, the columns of each argument.
        log_likelihood, predictive: whether to keep the log likelihood of each row and predictive
            draws; by default when draws x rows <= 2e7.
        trust: "ladder", an `ap.Ladder` with its thresholds, or None for the frame's own draws.
        keep_amortizing: whether to return the guide as well, which answers further datasets of the
            model; `ap.train(guide.task)` trains one that learns what the frame misses.
        keywords: fields of `Ladder`.

    Returns:
        The DataTree that `Guide.infer` returns; `source` in its sample_stats is `frame` where the
        frame passed. With `keep_amortizing` a pair of it and the guide. Of a formula, `coefficient`
        has the columns' names along `column` and is in their units; rows without an outcome are
        predicted in the group `predictions`.

    Raises:
        ModelError: `ap.Task` refuses the model, or it has no likelihood.
        DataError: the data do not fit the model.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> def model(rows, y=None):
        ...     mean = numpyro.sample("mean", dist.Normal(0, 10))
        ...     with numpyro.plate("row", rows):
        ...         numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)
        >>> post = fit(model, {"y": [1.2, 0.8, 1.9]}, draws=100)
        >>> post["posterior"]["mean"].shape
        (1, 100)
    """
    use_program_cache()
    given_formula = {"link": link, "priors": priors, "weights": weights}
    _expect_for_formula(model, data, {"family": family, "missing": missing, **given_formula})
    if isinstance(model, str):
        model = formula(
            model, data, family, link=link, priors=priors, missing=missing, weights=weights
        )
        data = None
    given: Keywords = {"rungs": RUNGS, **keywords} if trust == "ladder" else keywords
    options = Options(draws, seed, (log_likelihood, predictive), ladder_of(trust, given))
    if isinstance(model, Formula):
        tree, guide = fit_formula(model, options)
    else:
        tree, guide = fit_model(model, data, columns, options)
    return (tree, guide) if keep_amortizing else tree


def _expect_for_formula(model: Any, data: Any, options: Mapping[str, Any]) -> None:
    """Refuses a formula's options beside a model, or beside a formula that has been read."""
    usual = {"family": "gaussian", "missing": "error"}
    given = [n for n, v in options.items() if v is not None and v != usual.get(n)]
    if given and not isinstance(model, str):
        raise DataError(f"fit: {given[0]!r} is for a formula as text; pass it to ap.formula")
    if isinstance(model, Formula) and data is not None:
        raise DataError("fit: the formula has its data already; leave out `data`")


class Options(NamedTuple):
    """Draws, seed, what to keep, and the ladder."""

    draws: int
    seed: int
    keep: tuple[bool | None, bool | None]
    climb: Ladder | None


def fit_model(
    model: Callable[..., Any], data: Any, columns: Columns | None, options: Options, **labels: Any
) -> tuple["xarray.DataTree", Guide]:
    """The posterior of a model's data, and the guide that it is of.

    Args:
        labels: what else `Task` takes.
    """
    single = not isinstance(data, Sequence) or isinstance(data, str | bytes)
    datasets = [arrays_by_argument(model, d, columns) for d in ([data] if single else data)]
    if not datasets:
        raise DataError("data: expected at least one dataset, got an empty list")
    guide = untrained_guide(model, datasets, options.seed, **labels)
    expect_draws(options.draws, guide.task.latents.size)
    own = [{n: v for n, v in d.items() if n in guide.task.arguments} for d in datasets]
    given = own[0] if single else own
    tree = infer(guide, None, given, options.draws, options.seed, None, options.keep, options.climb)
    return name_source(tree), guide


def fit_formula(form: Formula, options: Options) -> tuple["xarray.DataTree", Guide]:
    """The posterior of a formula, with predictions of the rows that lack an outcome."""
    labels = {"dims": form.dims, "coords": form.coords, "name": form.text}
    tree, guide = fit_model(form.model, form.data, None, options, **labels)
    notes = [*form.notes, *json.loads(tree.attrs["warnings"])]
    about = {"formula": form.text, "family": form.family, "link": form.link}
    tree.attrs |= {**about, "model_source": form.source(), "warnings": json.dumps(notes)}
    if form.unobserved is not None:
        add_predictions(tree, form, form.unobserved, options.seed)
    return tree, guide


def untrained_guide(
    model: Callable[..., Any], datasets: Sequence[Arrays], seed: int = 0, **labels: Any
) -> Guide:
    """The guide that is the frame alone, of a task whose inputs are the rows of a dataset."""
    expect_seed(seed)
    task = task_of_data(model, datasets, **labels)
    rows_of = [{n: v for n, v in d.items() if n in task.arguments} for d in datasets]
    ranges = ranges_of([read(task, d).arrays for d in rows_of])
    method = run_once(FrameAlone().build, task, jr.key(seed))
    return Guide(method, FrameAlone(), Record(), seed, ranges)


def ranges_of(datasets: Sequence[Mapping[str, np.ndarray]]) -> Ranges:
    """Fewest and most rows of the datasets, and the ends of each number in a row."""
    counts = [len(next(iter(d.values()))) for d in datasets]
    low, high = (
        {
            n: [float(f(e)) for e in zip(*(_columns(d[n], f) for d in datasets), strict=True)]
            for n in datasets[0]
        }
        for f in (np.min, np.max)
    )
    return Ranges((min(counts), max(counts)), low, high)


def _columns(values: np.ndarray, end: Callable[..., Any]) -> list[float]:
    return end(values.reshape(len(values), -1).astype(float), axis=0).tolist()


def name_source(tree: "xarray.DataTree") -> "xarray.DataTree":
    """The tree with `frame` for `amortized`: nothing was trained across datasets."""
    stats = tree["sample_stats"].dataset
    source = np.where(stats["source"] == "amortized", "frame", stats["source"])
    renamed = stats.assign(source=(stats["source"].dims, source.astype(str)))
    tree["sample_stats"] = type(tree)(renamed)
    return tree
