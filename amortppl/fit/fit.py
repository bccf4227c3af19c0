"""`ap.fit`: a checked posterior of the data at hand, with nothing trained."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import jax.random as jr
import numpy as np

from amortppl.data.columns import Columns
from amortppl.data.dataset import read
from amortppl.errors import DataError
from amortppl.fit.data_task import Arrays, arrays_by_argument, task_of_data
from amortppl.fit.frame_method import FrameAlone
from amortppl.guide.guide import Guide
from amortppl.guide.infer import infer
from amortppl.guide.options import Keywords, ladder_of
from amortppl.runtime.arguments import expect_draws, expect_seed
from amortppl.training.ranges import Ranges
from amortppl.training.record import Record
from amortppl.trust.attempt import Ladder

if TYPE_CHECKING:
    import xarray


def fit(
    model: Callable[..., Any],
    data: Any,
    draws: int = 1000,
    seed: int = 0,
    *,
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
    weights. Where the check fails, the ladder climbs to the cheapest rung that passes: more
    refinement, importance sampling, variational inference, NUTS.

    Args:
        model: a NumPyro or Pyro model, as `ap.Task` takes it. Its arguments that default to None
            are observations. Shapes, types and the number of rows are those of the data.
        data: a dict of arrays by argument, a DataFrame, or a list of these (the result then has a
            leading dimension `task`).
        draws: S, the number of draws for each dataset.
        seed: the seed of the draws.
        columns: for DataFrames, the columns of each argument.
        log_likelihood, predictive: whether to keep the log likelihood of each row and predictive
            draws; by default when draws x rows <= 2e7.
        trust: "ladder", an `ap.Ladder` with its thresholds, or None for the frame's own draws.
        keep_amortizing: whether to return the guide as well, which answers further datasets of the
            model; `ap.train(guide.task)` trains one that learns what the frame misses.
        keywords: fields of `Ladder`.

    Returns:
        The DataTree that `Guide.infer` returns; `source` in its sample_stats is `frame` where the
        frame passed. With `keep_amortizing` a pair of it and the guide.

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
    single = not isinstance(data, Sequence) or isinstance(data, str | bytes)
    datasets = [arrays_by_argument(model, d, columns) for d in ([data] if single else data)]
    if not datasets:
        raise DataError("data: expected at least one dataset, got an empty list")
    guide = untrained_guide(model, datasets, seed)
    expect_draws(draws, guide.task.latents.size)
    own = [{n: v for n, v in d.items() if n in guide.task.arguments} for d in datasets]
    climb = ladder_of(trust, keywords)
    keep = (log_likelihood, predictive)
    given = own[0] if single else own
    tree = infer(guide, None, given, draws, seed, None, keep, climb)
    tree = name_source(tree)
    return (tree, guide) if keep_amortizing else tree


def untrained_guide(
    model: Callable[..., Any], datasets: Sequence[Arrays], seed: int = 0, **labels: Any
) -> Guide:
    """The guide that is the frame alone, of a task whose inputs are the rows of a dataset."""
    expect_seed(seed)
    task = task_of_data(model, datasets, **labels)
    known = [{n: v for n, v in d.items() if n in task.arguments} for d in datasets]
    ranges = ranges_of([read(task, d).arrays for d in known])
    method = FrameAlone().build(task, jr.key(seed))
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
