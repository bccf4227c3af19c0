"""Finds a model or a method by name or by path."""

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from amortppl.errors import ModelError, nearest, quoted
from amortppl.method import Spec
from amortppl.task.abstract import AbstractTask
from amortppl.task.task import Task


def names(kind: str) -> list[str]:
    """What the package carries: `kind` is `models` or `inference`."""
    folder = importlib.import_module(f"amortppl.{kind}")
    return sorted(m.name for m in pkgutil.iter_modules(folder.__path__))


def module(kind: str, where: str) -> ModuleType:
    """A module of the package by name, or a user's file by path.

    Args:
        kind: `models` or `inference`.
        where: the name or the path.

    Raises:
        LookupError: neither a name nor a file.

    Example:
        >>> import amortppl as ap
        >>> ap.module("models", "gaussian_mean").TASK
        {'rows': (8, 512)}
    """
    if where in names(kind):
        with _extra_named(where):
            return importlib.import_module(f"amortppl.{kind}.{where}")
    if Path(where).suffix == ".py":
        return from_file(where)
    raise LookupError(
        f"{where!r} is none of {quoted(names(kind))}, nor a path to a .py "
        f"file{nearest(where, names(kind))}"
    )


def from_file(path: str | Path) -> ModuleType:
    """Runs a user's file as a module, registered under an undotted name of its own."""
    path = Path(path).resolve()
    if not path.is_file():
        raise LookupError(f"no file at {path}")
    name = f"amortppl_user_{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LookupError(f"{path} cannot be loaded as Python")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    try:
        with _extra_named(path.name):
            spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[name]
        raise
    return loaded


@contextmanager
def _extra_named(where: str) -> Iterator[None]:
    """Adds to an import error what to install when a Pyro model's packages are missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("pyro", "torch"):
            raise
        raise ImportError(
            f"{where} is a Pyro model and needs the extra: pip install 'amortppl[pyro]'"
        ) from error


def method(where: str, **options: Any) -> Spec:
    """A configured method: by name (`"parametric"`) or by path to a file with a `METHOD`.

    Args:
        where: the name or the path.
        options: fields of the method's options, for example `density="mixture"`.

    Raises:
        LookupError: no such method.
        TypeError: an option it does not have.

    Example:
        >>> import amortppl as ap
        >>> ap.method("parametric", density="mixture").density
        'mixture'
    """
    loaded = module("inference", where)
    if not hasattr(loaded, "METHOD"):
        raise LookupError(f"{where} defines no METHOD (a class with `build(task, key)`)")
    return loaded.METHOD(**options)


def model(where: str, **changes: Any) -> AbstractTask:
    """A task: by a model's name (`"linear_regression"`) or by a path to its file, either with
    `:name`.

    A model file holds a function `model` (or one of the given name) and a dict `TASK` of what
    else `Task` takes; or it holds a `Task` of the given name. A file of data in place of a model
    holds a function `episodes` (or one of the given name) and a dict `TASK` of what else
    `Task.from_episodes` takes; one of a simulator `prior`, `simulator` and what else
    `Task.from_simulator` takes.

    Args:
        where: the name or the path.
        changes: arguments of `Task` in place of those in `TASK`, for example `rows=(8, 64)`.

    Raises:
        LookupError: no such model, or the file has no such name.
        ModelError: the model cannot be amortized as written.

    Example:
        >>> import amortppl as ap
        >>> ap.model("gaussian_mean", rows=(4, 8)).rows
        (4, 8)
    """
    path, name = split_name(where)
    loaded = module("models", path)
    if has_simulator(loaded) and name in ("", "simulator"):
        settings = {"name": Path(path).stem, **getattr(loaded, "TASK", {}), **changes}
        return Task.from_simulator(loaded.prior, loaded.simulator, **settings)
    main = "episodes" if has_episodes(loaded) else "model"
    target = getattr(loaded, name or main, None)
    if target is None and not name:
        tasks = [v for v in vars(loaded).values() if isinstance(v, AbstractTask)]
        target = tasks[0] if len(tasks) == 1 else None
    if target is None:
        public = [
            n
            for n, v in vars(loaded).items()
            if callable(v) and getattr(v, "__module__", None) == loaded.__name__
        ]
        raise LookupError(
            f"{path} has no {name or 'model'!r} (it defines {quoted(public)}); say {path}:NAME"
        )
    if isinstance(target, AbstractTask):
        return target
    if not callable(target):
        raise ModelError(
            f"{where}: expected a model function or a Task, got {type(target).__name__}"
        )
    settings = {"name": name or Path(path).stem, **getattr(loaded, "TASK", {}), **changes}
    return (
        Task.from_episodes(target, **settings) if has_episodes(loaded) else Task(target, **settings)
    )


def split_name(where: str) -> tuple[str, str]:
    """`file:name` -> file and name, which is empty where none is given."""
    path, _, name = where.rpartition(":")
    return (path, name) if path and name.isidentifier() else (where, "")


def has_simulator(loaded: ModuleType) -> bool:
    """Whether a file holds a prior and a simulator in place of a model."""
    return all(hasattr(loaded, n) for n in ("prior", "simulator")) and not hasattr(loaded, "model")


def has_episodes(loaded: ModuleType) -> bool:
    """Whether a file holds episodes of data in place of a model."""
    return hasattr(loaded, "episodes") and not hasattr(loaded, "model")
