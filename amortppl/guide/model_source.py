"""Where a guide's model and its method were written, and both found there again."""

import inspect
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from amortppl import catalogue
from amortppl.errors import GuideError
from amortppl.guide.trusted_code import TrustedCode
from amortppl.method import Spec
from amortppl.task.abstract import AbstractTask
from amortppl.task.censoring import LIMITS_OF
from amortppl.task.task import Task

LARGEST = 64
"""An option of a guide from elsewhere is at most this many times its default, and at least this may
it be: a guide's folder must not ask for endless work."""


def describe_source(task: AbstractTask) -> dict[str, str]:
    """Module, name and file of a task's model, as `guide.json` holds them."""
    model = inspect.unwrap(task.model)
    name = getattr(model, "__qualname__", "")
    return {"module": getattr(model, "__module__", ""), "model": name, "file": file_of(model)}


def describe_groups(task: AbstractTask) -> dict[str, Any]:
    """How rows lie in groups, as `guide.json` holds it; nothing where they do not."""
    if task.several is not None:
        sizes = {n: [g.fewest, g.most] for n, g in task.several.groupings.items()}
        return {"groupings": sizes, "nested": task.several.nested}
    if not task.grouping:
        return {}
    grouping = task.grouping
    whole = list(grouping.arguments.whole)
    sizes = {"groups": list(grouping.groups), "rows": list(grouping.rows)}
    return {"groups": {"index": grouping.name, **sizes, "whole": whole}}


def describe_order(task: AbstractTask) -> dict[str, Any]:
    """Whether rows follow one another, as `guide.json` holds it; nothing where they do not."""
    return {"ordered": task.stamps or True} if task.ordered and task.supports is None else {}


def _ungrouped(groups: Mapping[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """What `Task` takes, from stored groups and their inputs."""
    index, whole = groups["index"], groups["whole"]
    rows = {n: v if n in whole else v.reshape(-1, *v.shape[2:]) for n, v in inputs.items()}
    return {
        "inputs": {n: v for n, v in rows.items() if n != index},
        "rows": tuple(groups["rows"]),
        "groups": {index: tuple(groups["groups"])},
        "by_group": {index: whole},
    }


def _censored(sizes: dict[str, Any]) -> dict[str, Any]:
    """What `Task` takes, with the limits of censored rows apart from the inputs."""
    inputs = sizes["inputs"]
    limits = {n.removeprefix(LIMITS_OF): v for n, v in inputs.items() if n.startswith(LIMITS_OF)}
    own = {n: v for n, v in inputs.items() if n not in limits and not n.startswith(LIMITS_OF)}
    return {**sizes, "inputs": own, "censoring": limits}


def file_of(thing: Any) -> str:
    """The file a class or a function was written in; empty where there is none."""
    try:
        return str(Path(inspect.getsourcefile(thing) or "").resolve())
    except TypeError:
        return ""


def find_method(path: Path, about: dict[str, Any], trusted: TrustedCode) -> Spec:
    """The configured method, by the place it was written in.

    Raises:
        GuideError: it is not there or not trusted, or lacks an option.
    """
    where = about["module"]
    module = trusted.module(
        "inference", about, f"where you trust that file, name it: trust_code=[{about['file']!r}]"
    )
    if module is None or not hasattr(module, "METHOD"):
        raise GuideError(
            f"{path}: its method was written in {about['file'] or where} and is not found there"
        )
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in about["options"].items()}
    for value in options.values():
        if isinstance(value, str) and (file := catalogue.split_name(value)[0]).endswith(".py"):
            trusted.expect_file(file)
    if not trusted.own and is_dataclass(module.METHOD):
        _expect_options(path, module.METHOD, options)
    try:
        return module.METHOD(**options)
    except (TypeError, ValueError, LookupError) as error:
        raise GuideError(
            f"{path}: its method's options are not those of {where} here ({error})"
        ) from error


def _expect_options(path: Path, method: Any, options: Mapping[str, Any]) -> None:
    """Refuses options of another type than their defaults, or out of all proportion to them."""
    for field in fields(method):
        if field.name not in options:
            continue
        value, default = options[field.name], field.default
        place = f"{path}/guide.json: method.options.{field.name}"
        alike = default is None or type(value) is type(default)
        if not alike and not (isinstance(default, float) and type(value) is int):
            raise GuideError(
                f"{place}: expected {type(default).__name__} as {default!r} is, got {value!r}"
            )
        scale = abs(default) if isinstance(default, int | float) else 1
        for number in value if isinstance(value, tuple) else (value,):
            small = not isinstance(number, int | float) or (
                math.isfinite(number) and 0 <= number <= LARGEST * max(scale, 1)
            )
            if not small:
                raise GuideError(
                    f"{place}: expected a number from 0 to {LARGEST * max(scale, 1)}, got "
                    f"{number!r}; a guide from elsewhere may not ask for more"
                )


def find_task(
    path: Path, about: dict[str, Any], trusted: TrustedCode, stored: Mapping[str, Any]
) -> AbstractTask:
    """The task by the place its model was written in; inputs from the stored rows where need be.

    Args:
        stored: the arrays of the guide's weights by path.

    Raises:
        GuideError: the model is not there, or not trusted.
    """
    where = about["task"]
    hint = "pass the task: load(path, task=...), or, where you trust that file, trust_code=[FILE]"
    module = trusted.module("models", where, hint)
    target = getattr(module, where["model"], None) if module else None
    if isinstance(target, AbstractTask):
        return target
    of_package = where["module"].startswith("amortppl.models.")
    foreign = of_package and getattr(target, "__module__", "") != where["module"]
    if not callable(target) or foreign:
        raise GuideError(
            f"{path}: its model {where['model']!r} was written in "
            f"{where['file'] or where['module']} and is not "
            "found there; pass the task: load(path, task=...)"
        )
    rows = tuple(where["rows"]) if where["rows"] else None
    settings = getattr(module, "TASK", None)
    if where.get("episodes"):
        _expect_episodes(path, where, module)
        return Task.from_episodes(target, **{**settings, "name": where["name"], "rows": rows})
    if catalogue.has_simulator(module):
        settings = {**(settings or {}), "name": where["name"], "rows": rows}
        return Task.from_simulator(module.prior, target, **settings)
    if settings is not None:
        sizes = _settings(where, rows)
        task = Task(target, **{**settings, "name": where["name"], **sizes})
        if _row_shapes(task) == _row_shapes(about):
            return task
    inputs = {n: stored[f"['inputs']['{n}']"] for n in about["inputs"]}
    inputs = {n: v[0] for n, v in inputs.items()} if rows is None else inputs
    sizes: dict[str, Any] = {"inputs": inputs, "rows": rows}
    if "groups" in where:
        sizes = _ungrouped(where["groups"], inputs)
    elif "groupings" in where:
        own = {n: v for n, v in inputs.items() if n not in where["groupings"]}
        sizes |= {"inputs": own, **_groupings(where)}
    return Task(
        target,
        **_censored(sizes),
        observed=about["observed"],
        dims=about["dims"],
        coords=about["coords"],
        ordered=where.get("ordered"),
        name=where["name"],
    )


def _expect_episodes(path: Path, where: Mapping[str, Any], module: Any) -> None:
    """Refuses a module that does not say what its episodes' task was given."""
    if getattr(module, "TASK", None) is None or not catalogue.has_episodes(module):
        raise GuideError(
            f"{path}: trained on episodes of data, drawn by {where['model']!r} of "
            f"{where['file'] or where['module']}, which does not say what Task.from_episodes was "
            "given; pass the task: load(path, task=...)"
        )


def _settings(where: Mapping[str, Any], rows: tuple[int, int] | None) -> dict[str, Any]:
    """The sizes that a guide was trained for, as `Task` takes them."""
    if "groups" not in where:
        return {"rows": rows, **_groupings(where)}
    groups = where["groups"]
    return {"rows": tuple(groups["rows"]), "groups": {groups["index"]: tuple(groups["groups"])}}


def _groupings(where: Mapping[str, Any]) -> dict[str, Any]:
    """Several groupings, as `Task` takes them; nothing where there are none."""
    if "groupings" not in where:
        return {}
    nested = {inner: [outer] for inner, outer in where["nested"].items()}
    return {"groups": {n: tuple(r) for n, r in where["groupings"].items()}, "by_group": nested}


def _row_shapes(of: AbstractTask | dict[str, Any]) -> dict[str, list[int]]:
    """Shapes of one row of every input: those of the file's own task may have been replaced."""
    if isinstance(of, AbstractTask):
        return {n: list(of.rows_like[n].shape[1:]) for n in of.inputs}
    rows = {n: list(shape[1:]) for n, (shape, _) in of["inputs"].items()}
    return {n: s for n, s in rows.items() if not n.startswith(LIMITS_OF)}
