"""Where a guide's model and its method were written, and both found there again.

No code of a guide's folder is run: they are imported by name, or from the file they were written
in.
"""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from amortppl import catalogue
from amortppl.errors import GuideError
from amortppl.method import Spec
from amortppl.runtime.files import unpack
from amortppl.task.abstract import AbstractTask
from amortppl.task.task import Task


def describe_source(task: AbstractTask) -> dict[str, str]:
    """Module, name and file of a task's model, as `guide.json` holds them."""
    model = inspect.unwrap(task.model)
    name = getattr(model, "__qualname__", "")
    return {"module": getattr(model, "__module__", ""), "model": name, "file": file_of(model)}


def file_of(thing: Any) -> str:
    """The file a class or a function was written in; empty where there is none."""
    try:
        return str(Path(inspect.getsourcefile(thing) or "").resolve())
    except TypeError:
        return ""


def find_method(path: Path, about: dict[str, Any]) -> Spec:
    """The configured method, by the place it was written in.

    Raises:
        GuideError: it is not there, or lacks an option.
    """
    where = about["module"]
    module = (
        _from_file(path, about["file"])
        if where.startswith("amortppl_user_")
        else _by_name(path, where)
    )
    if module is None:
        raise GuideError(
            f"{path}: its method was written in {about['file'] or where} and is not found there"
        )
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in about["options"].items()}
    try:
        return module.METHOD(**options)
    except TypeError as error:
        raise GuideError(
            f"{path}: its method's options are not those of {where} here ({error})"
        ) from error


def find_task(path: Path, about: dict[str, Any]) -> AbstractTask:
    """The task by the place its model was written in; inputs from the stored rows where need be.

    Raises:
        GuideError: the model is not there.
    """
    where = about["task"]
    module = _module(path, where)
    target = getattr(module, where["model"], None) if module else None
    if target is None:
        raise GuideError(
            f"{path}: its model {where['model']!r} was written in "
            f"{where['file'] or where['module']} and is not "
            "found there; pass the task: load(path, task=...)"
        )
    if isinstance(target, AbstractTask):
        return target
    rows = tuple(where["rows"]) if where["rows"] else None
    settings = getattr(module, "TASK", None)
    if where.get("episodes"):
        if settings is None or not catalogue.has_episodes(module):
            raise GuideError(
                f"{path}: trained on episodes of data, drawn by {where['model']!r} of "
                f"{where['file'] or where['module']}, which does not say what Task.from_episodes "
                f"was given; "
                "pass the task: load(path, task=...)"
            )
        return Task.from_episodes(target, **{**settings, "name": where["name"], "rows": rows})
    if settings is not None:
        task = Task(target, **{**settings, "name": where["name"], "rows": rows})
        if _row_shapes(task) == _row_shapes(about):
            return task
    stored, _ = unpack(path / "weights.safetensors", None)
    inputs = {n: stored[f"['inputs']['{n}']"] for n in about["inputs"]}
    inputs = {n: v[0] for n, v in inputs.items()} if rows is None else inputs
    return Task(
        target,
        inputs,
        rows,
        observed=about["observed"],
        dims=about["dims"],
        coords=about["coords"],
        name=where["name"],
    )


def _row_shapes(of: AbstractTask | dict[str, Any]) -> dict[str, list[int]]:
    """Shapes of one row of every input: those of the file's own task may have been replaced."""
    if isinstance(of, AbstractTask):
        return {n: list(of.rows_like[n].shape[1:]) for n in of.inputs}
    return {n: list(shape[1:]) for n, (shape, _) in of["inputs"].items()}


def _module(path: Path, where: dict[str, str]) -> Any:
    main = sys.modules.get("__main__")
    if where["module"] == "__main__" or where["module"].startswith("amortppl_user_"):
        if (
            main is not None
            and getattr(main, "__file__", None)
            and Path(main.__file__).resolve() == Path(where["file"])
        ):
            return main
        return _from_file(path, where["file"])
    return _by_name(path, where["module"])


def _from_file(path: Path, file: str) -> Any:
    _refuse_own(path, Path(file))
    return catalogue.from_file(file) if Path(file).is_file() else None


def _by_name(path: Path, name: str) -> Any:
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is not None:
        places = [Path(p, *rest) for p in spec.submodule_search_locations or []]
        for place in [*places, *([Path(spec.origin)] if spec.origin else [])]:
            _refuse_own(path, place)
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _refuse_own(path: Path, file: Path) -> None:
    if path.resolve() in file.resolve().parents:
        raise GuideError(
            f"{path}: its code lies inside the guide's own folder; running it would run a "
            f"stranger's code. Pass "
            "task=..."
        )
