"""`ap.fit`: a checked posterior of the data at hand, with nothing trained."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np

from amortppl.data.columns import Columns
from amortppl.errors import DataError, GuideError, ModelError
from amortppl.fit.counted_groups import count_groups, explain_nesting, name_groups
from amortppl.fit.data_task import Arrays, arrays_by_argument, named_arguments
from amortppl.fit.kept_guides import KEPT
from amortppl.fit.predictions import add_predictions
from amortppl.fit.refits import Refits, join_tables, label_tasks
from amortppl.fit.untrained_guide import read_ranges, untrained_guide
from amortppl.formula.formula import Formula, formula
from amortppl.guide.guide import Guide
from amortppl.guide.infer import infer
from amortppl.guide.options import Keywords, ladder_of
from amortppl.runtime.arguments import expect_draws, expect_seed
from amortppl.runtime.program_cache import use_program_cache
from amortppl.task.grouped_model import model_of_rows
from amortppl.training.record import Record
from amortppl.trust.attempt import Ladder

if TYPE_CHECKING:
    import xarray


RUNGS = ("weighted", "conditional", "psis", "refined", "svi", "many_chains", "nuts")
"""Rungs that follow the frame: its own draws by their weights, then importance sampling, whose
programs are the shortest.

Scales first: proposals of all latents at once miss the tails of small standard deviations, and
their k-hat does not always tell (`grunfeld` in tests/benchmarks/test_fit.py: 0.66, a sd 19% off).
"""

WITHOUT_PLATES = ("weighted", "psis", "conditional", "refined", "svi", "many_chains", "nuts")
"""The order of a model without plates and with `ROWS_A_LATENT`: no scale goes to zero there, and a
log joint is cheaper than a mode. A hurdle model of 1,000 rows took 64 CPU s the other way round."""

ROWS_A_LATENT = 2

MOVED = {"shift": 0.03, "scale": 0.02}
"""What reweighting may change of the frame's draws, as in `Ladder`: means should be good for 0.05
sd and sds for 3%, of which chance takes a part."""


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
    by: str | Sequence[str] | None = None,
    bootstrap: int | None = None,
    by_group: Mapping[str, Sequence[str]] | None = None,
    simulate: Mapping[str, Callable[..., Any]] | None = None,
    **keywords: Unpack[Keywords],
) -> Any:
    """Posterior of one dataset, or of a list of datasets, with nothing trained.

    A Gaussian frame is placed by derivatives of the log joint (Newton's method to the mode, groups
    integrated out, sweeps of Gaussian variational inference). Its draws are checked by importance
    weights. Where the check fails, the ladder climbs to the cheapest rung that passes: the same
    draws resampled by good weights, importance sampling of scales first and all else given them,
    adaptive importance sampling of all latents, more refinement, variational inference, NUTS.

    A further dataset of the same function, with arguments of the same types, is answered by the
    programs that are there, whatever its rows (docs/compilation.md).

    Args:
        model: a NumPyro or Pyro model, as `ap.Task` takes it. Its arguments that default to None
            are observations. Shapes, types and the number of rows are those of the data. Or a
            formula like `"y ~ x + (1 | g)"`, or what `ap.formula` returned.
        data: a dict of arrays by argument, a DataFrame, or a list of these (the result then has a
            leading dimension `task`). Of a formula, the table, or a list of tables.
        draws: S, the number of draws for each dataset.
        seed: the seed of the draws.
        family, link, priors, missing, weights: of a formula, as `ap.formula` takes them.
        columns: for DataFrames, the columns of each argument.
        log_likelihood, predictive: whether to keep the log likelihood of each row and predictive
            draws; by default when draws x rows <= 2e7.
        trust: "ladder", an `ap.Ladder` with its thresholds, or None for the frame's own draws.
        keep_amortizing: whether to return the guide as well, which answers further datasets of the
            model; `ap.train(guide.task)` trains one that learns what the frame misses.
        by: of a formula, a column or several: a posterior for each of their levels, along `task`.
            Units, levels and priors are those of the whole table, and so they are for a list.
        bootstrap: of a formula, so many samples of the table's rows with replacement, along `task`.
        by_group: `{"school": ["size"]}`: of a model of rows in groups, arguments with one value a
            group. Such a model has an argument `school`, the index of each row's group, and one
            `n_school`, how many there are; the data hold labels under `school` alone. Of a model
            with several groupings `{"room": ["school"]}` says that every room lies in one school
            (docs/tutorials/hierarchy.md).
        simulate: of a model whose log likelihood is a `numpyro.factor`, as `ap.Task` takes it.
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
    reading = {"family": family, "link": link, "priors": priors, "missing": missing}
    reading["weights"] = weights
    _expect_for_formula(model, data, reading, {"by": by, "bootstrap": bootstrap})
    if isinstance(model, str) and isinstance(data, list | tuple):
        data, by = _joined(data, by)
    if isinstance(model, str):
        model, data = formula(model, data, **reading), None
    given: Keywords = {"rungs": RUNGS, **MOVED, **keywords} if trust == "ladder" else keywords
    options = Options(draws, seed, (log_likelihood, predictive), ladder_of(trust, given))
    if isinstance(model, Formula):
        tree, guide = fit_formula(model, options, _refits(model, by, bootstrap, seed))
    else:
        behind = model_of_rows(model)
        if behind is not None:  # the model of a task of groups
            model, whole = behind.model, behind.arguments.whole
            by_group = by_group or ({behind.arguments.index: whole} if whole else None)
        labels = {"by_group": by_group, "simulate": simulate}
        labels = {n: v for n, v in labels.items() if v}
        options = options._replace(own_guide=keep_amortizing)
        tree, guide = fit_model(model, data, columns, options, **labels)
    return (tree, guide) if keep_amortizing else tree


def _expect_for_formula(
    model: Any, data: Any, reading: Mapping[str, Any], refits: Mapping[str, Any]
) -> None:
    """Refuses a formula's options beside a model, or beside a formula that has been read."""
    usual = {"family": "gaussian", "missing": "error"}
    given = [n for n, v in reading.items() if v is not None and v != usual.get(n)]
    if given and not isinstance(model, str):
        raise DataError(f"fit: {given[0]!r} is for a formula as text; pass it to ap.formula")
    if isinstance(model, Formula) and data is not None:
        raise DataError("fit: the formula has its data already; leave out `data`")
    several = [n for n, v in refits.items() if v is not None]
    if len(several) > 1:
        raise DataError("fit: give one of `by` and `bootstrap`")
    if several and not isinstance(model, str | Formula):
        raise DataError(f"fit: {several[0]!r} is for a formula; of a model, pass a list of data")


def _joined(tables: Sequence[Any], by: Any) -> tuple[Any, str]:
    """Several tables as one, and the column that tells them apart."""
    if by is not None:
        raise DataError("fit: give a list of tables, or one table and `by`")
    return join_tables(tables)


def _refits(form: Formula, by: Any, bootstrap: int | None, seed: int) -> Refits | None:
    """The datasets to answer; None for the formula's own."""
    expect_seed(seed)
    if by is not None:
        return Refits.by_levels(form, by)
    return None if bootstrap is None else Refits.by_bootstrap(form, bootstrap, seed)


class Options(NamedTuple):
    """Draws, seed, what to keep, the ladder, and whether the guide is to be of these data alone."""

    draws: int
    seed: int
    keep: tuple[bool | None, bool | None]
    climb: Ladder | None
    own_guide: bool = True


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
    by_group = labels.get("by_group", {})
    counted = count_groups(named_arguments(model), datasets, by_group)
    if counted is not None:
        datasets, _ = counted.datasets, labels.pop("by_group", None)
    about = (model, datasets[0], options.seed, labels | {"groups": counted and counted.labels})
    alone = single and not options.own_guide
    kept = KEPT.find(*about) if alone else None
    if kept is not None:
        tree = _answered_by(kept, datasets[0], options)
        if tree is not None:
            return tree, kept
    with explain_nesting(counted, by_group):
        guide = untrained_guide(model, datasets, options.seed, **labels)
    if counted is not None:
        name_groups(guide.task, counted.labels)
    expect_draws(options.draws, guide.task.latents.size)
    tree = _answer(guide, datasets, options, single)
    if alone:
        KEPT.keep(*about, guide)
    return tree, guide


def _answered_by(kept: Guide, data: Arrays, options: Options) -> "xarray.DataTree | None":
    """The answer of a guide made for another dataset; None where it fails or its density is not the
    model's, so that one of its own says what is wrong.
    """
    try:
        guide = Guide(kept.method, kept.spec, Record(), kept.seed, read_ranges(kept.task, [data]))
        tree = _answer(guide, [data], options, True)
    except (DataError, ModelError, GuideError):
        return None
    if not tree["sample_stats"]["log_joint_agrees"].all():
        KEPT.forget(kept)
        return None
    return tree


def _answer(
    guide: Guide, datasets: Sequence[Arrays], options: Options, single: bool
) -> "xarray.DataTree":
    """The posteriors of datasets by an untrained guide."""
    own = [{n: v for n, v in d.items() if n in guide.task.arguments} for d in datasets]
    given = own[0] if single else own
    climb = cheapest_first(options.climb, guide)
    tree = infer(guide, None, given, options.draws, options.seed, None, options.keep, climb)
    return name_source(tree)


def cheapest_first(climb: Ladder | None, guide: Guide) -> Ladder | None:
    """The ladder with the usual rungs in the order that suits the model; others as they are."""
    rows = guide.ranges.rows[0] if guide.ranges else 0
    if climb is None or climb.rungs != RUNGS or getattr(guide.method, "plates", None):
        return climb
    many = rows >= ROWS_A_LATENT * guide.task.latents.size
    return replace(climb, rungs=WITHOUT_PLATES) if many else climb


def fit_formula(
    form: Formula, options: Options, refits: Refits | None = None
) -> tuple["xarray.DataTree", Guide]:
    """The posterior of a formula, with predictions of the rows that lack an outcome.

    Args:
        refits: the datasets to answer in its place; rows without an outcome are left out then.
    """
    labels = {"dims": form.dims, "coords": form.coords, "name": form.text}
    data = form.data if refits is None else refits.data
    tree, guide = fit_model(form.model, data, None, options, **labels)
    notes = [*form.notes, *json.loads(tree.attrs["warnings"])]
    if refits is not None:
        label_tasks(tree, refits.labels)
        notes = [n.replace("are predicted", "are left out") for n in notes]
    elif form.unobserved is not None:
        add_predictions(tree, form, form.unobserved, options.seed)
    about = {"formula": form.text, "family": form.family, "link": form.link}
    tree.attrs |= {**about, "model_source": form.source(), "warnings": json.dumps(notes)}
    return tree, guide


def name_source(tree: "xarray.DataTree") -> "xarray.DataTree":
    """The tree with `frame` for `amortized`: nothing was trained across datasets."""
    stats = tree["sample_stats"].dataset
    source = np.where(stats["source"] == "amortized", "frame", stats["source"])
    renamed = stats.assign(source=(stats["source"].dims, source.astype(str)))
    tree["sample_stats"] = type(tree)(renamed)
    return tree
