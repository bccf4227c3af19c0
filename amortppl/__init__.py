"""Amortized guides for probabilistic programs: train across simulated tasks, infer in milliseconds.

Names are resolved on first use, so that `import amortppl` itself costs next to nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amortppl import testing as testing
    from amortppl.catalogue import method, model, module
    from amortppl.choice.compare_models import compare_models
    from amortppl.data.batches import Batches, batches
    from amortppl.diagnostics.calibrate import calibrate
    from amortppl.diagnostics.compare import compare
    from amortppl.diagnostics.contest import contest
    from amortppl.diagnostics.diagnose import diagnose
    from amortppl.diagnostics.sensitivity import sensitivity
    from amortppl.errors import (
        DataError,
        DesignWarning,
        GuideError,
        ModelError,
        OutOfRangeWarning,
        SimulationWarning,
        TrainingError,
        UnreliableWarning,
        VersionWarning,
    )
    from amortppl.fit.compare import compare_fits
    from amortppl.fit.effects import comparisons, predictions, slopes
    from amortppl.fit.fit import fit
    from amortppl.fit.page import report_fit
    from amortppl.fit.plots import plot_effects
    from amortppl.formula.formula import Formula, formula
    from amortppl.guide.guide import Guide
    from amortppl.guide.load import load
    from amortppl.guide.options import Streaming
    from amortppl.guide.train import train
    from amortppl.guide.train_rounds import train_rounds
    from amortppl.method import Method
    from amortppl.posterior.shards import all_gather, combine
    from amortppl.posterior.state import State
    from amortppl.pyro import from_pyro
    from amortppl.report.report import report
    from amortppl.runtime.timings import timings
    from amortppl.task.abstract import AbstractTask
    from amortppl.task.batch import Batch
    from amortppl.task.task import Task
    from amortppl.trust.attempt import Ladder

_HOMES = {
    "AbstractTask": "task.abstract",
    "Batch": "task.batch",
    "Batches": "data.batches",
    "DataError": "errors",
    "DesignWarning": "errors",
    "Formula": "formula.formula",
    "Guide": "guide.guide",
    "GuideError": "errors",
    "Ladder": "trust.attempt",
    "Method": "method",
    "ModelError": "errors",
    "OutOfRangeWarning": "errors",
    "SimulationWarning": "errors",
    "State": "posterior.state",
    "Streaming": "guide.options",
    "Task": "task.task",
    "TrainingError": "errors",
    "UnreliableWarning": "errors",
    "VersionWarning": "errors",
    "all_gather": "posterior.shards",
    "batches": "data.batches",
    "calibrate": "diagnostics.calibrate",
    "combine": "posterior.shards",
    "compare": "diagnostics.compare",
    "compare_fits": "fit.compare",
    "compare_models": "choice.compare_models",
    "comparisons": "fit.effects",
    "contest": "diagnostics.contest",
    "diagnose": "diagnostics.diagnose",
    "fit": "fit.fit",
    "formula": "formula.formula",
    "from_pyro": "pyro",
    "load": "guide.load",
    "method": "catalogue",
    "model": "catalogue",
    "module": "catalogue",
    "plot_effects": "fit.plots",
    "predictions": "fit.effects",
    "report_fit": "fit.page",
    "report": "report.report",
    "sensitivity": "diagnostics.sensitivity",
    "slopes": "fit.effects",
    "timings": "runtime.timings",
    "train": "guide.train",
    "train_rounds": "guide.train_rounds",
}

__all__ = [
    "AbstractTask",
    "Batch",
    "Batches",
    "DataError",
    "DesignWarning",
    "Formula",
    "Guide",
    "GuideError",
    "Ladder",
    "Method",
    "ModelError",
    "OutOfRangeWarning",
    "SimulationWarning",
    "State",
    "Streaming",
    "Task",
    "TrainingError",
    "UnreliableWarning",
    "VersionWarning",
    "all_gather",
    "batches",
    "calibrate",
    "combine",
    "compare",
    "compare_fits",
    "compare_models",
    "comparisons",
    "contest",
    "diagnose",
    "fit",
    "formula",
    "from_pyro",
    "load",
    "method",
    "model",
    "module",
    "plot_effects",
    "predictions",
    "report",
    "report_fit",
    "sensitivity",
    "slopes",
    "timings",
    "train",
    "train_rounds",
]


def __getattr__(name: str) -> Any:
    if name == "testing":
        return import_module("amortppl.testing")
    if name not in _HOMES:
        raise AttributeError(f"module 'amortppl' has no attribute {name!r}")
    value = getattr(import_module(f"amortppl.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps public names apart from submodules of the same name, which Python would put in their
    place.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
