"""Finds an inference by what a user gives: a name, a function, or a guide."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from amortppl import catalogue
from amortppl.diagnostics.inferences.autoguide import autoguide
from amortppl.diagnostics.inferences.functions import of_function
from amortppl.diagnostics.inferences.inference import Inference
from amortppl.diagnostics.inferences.nuts import nuts
from amortppl.diagnostics.inferences.pathfinder import pathfinder
from amortppl.diagnostics.inferences.pyro_svi import pyro_svi
from amortppl.errors import DataError, nearest
from amortppl.guide.train import train
from amortppl.task.abstract import AbstractTask
from amortppl.training.trained import TrainedMethod

NAMES = ("numpyro.nuts", "numpyro.autoguide:AutoNormal", "pyro.svi", "pathfinder")
"""Names beside those of the methods."""


def find_inference(
    task: AbstractTask,
    infer: Any,
    options: Mapping[str, Any] | None = None,
    vmap: bool = False,
    processes: int = 1,
) -> Inference | TrainedMethod:
    """The inference that a user means.

    Args:
        task: the task.
        infer: a name, a function, or a guide of the task.
        options: of a name.
        vmap, processes: of a function.

    Raises:
        DataError: no such name, an option that it does not have, or the guide of another task.
    """
    options = dict(options or {})
    if isinstance(infer, TrainedMethod):
        if infer.task.fingerprint != task.fingerprint:
            raise DataError(
                f"infer: expected a guide of {task.name}, got one whose sites differ; pass its own "
                "task"
            )
        return infer
    if callable(infer):
        return of_function(task, infer, vmap, processes)
    if not isinstance(infer, str):
        raise DataError(
            "infer: expected a function (data, key) -> draws by latent, a name or a guide, got "
            f"{type(infer).__name__}"
        )
    return _by_name(task, infer, options)


def _by_name(task: AbstractTask, name: str, options: dict[str, Any]) -> Inference | TrainedMethod:
    kind, _, which = name.partition(":")
    if kind == "numpyro.autoguide":
        return _make(autoguide, name, options, task, which or "AutoNormal")
    if kind in ("pyro.svi", "pyro.autoguide"):
        return _make(pyro_svi, name, options, task, which or "AutoNormal")
    makers = {"numpyro.nuts": nuts, "nuts": nuts, "pathfinder": pathfinder}
    if name in makers:
        return _make(makers[name], name, options, task)
    if name in catalogue.names("inference") or name.endswith(".py"):
        return train(task, name, progress=False, **options)
    there = [*NAMES, *catalogue.names("inference")]
    raise DataError(f"infer: no inference {name!r}{nearest(name, there)}; there are {there}")


def _make(maker: Callable[..., Inference], name: str, options: dict, *given: Any) -> Inference:
    there = list(inspect.signature(maker).parameters)[len(given) :]
    unknown = [o for o in options if o not in there]
    if unknown:
        raise DataError(f"options: {name} has no {unknown[0]!r}{nearest(unknown[0], there)}")
    return maker(*given, **options)
