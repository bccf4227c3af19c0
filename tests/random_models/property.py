"""What must hold of every random model: one clear error, or the densities of the plain model.

The judge is not amortppl's: values are drawn and scored by NumPyro's `log_density` or Pyro's
traces, discrete latents are summed out one configuration at a time, and latents of rows by the
trapezoid rule.
"""

import re
import warnings
from typing import Any, NamedTuple

import amortppl as ap
from amortppl import errors
from fuzz import Hang, limit
from random_models.case import Case, Silent, Unjudged
from random_models.description import RandomModel
from random_models.render import build

SECONDS = 60
"""Of the processor, that a task may take."""

OWN_ERRORS = (errors.ModelError, errors.DataError, errors.TrainingError, errors.GuideError)


class Outcome(NamedTuple):
    """What came of a model: "equal", "refused", "unclear", "raw", "hang", "silent" or "unjudged";
    and why.
    """

    kind: str
    reason: str = ""

    @property
    def bad(self) -> bool:
        """Whether it is a counter-example."""
        return self.kind in ("unclear", "raw", "hang", "silent")


def judge(described: RandomModel) -> Outcome:
    """Makes the task of a random model, and compares it with the model."""
    module = build(described)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with limit(SECONDS):
                task = ap.Task(module.model, **module.task())
        except Hang as error:
            return Outcome("hang", str(error))
        except OWN_ERRORS as error:
            return _refused(described, error)
        except Exception as error:
            return Outcome("raw", f"{type(error).__name__}: {error}"[:400])
        try:
            compare(task, module, described)
        except Silent as error:
            return Outcome("silent", str(error))
        except Unjudged as error:
            return Outcome("unjudged", str(error))
        except Exception as error:
            return Outcome("silent", f"it fails later: {type(error).__name__}: {error}"[:400])
    return Outcome("equal")


def _refused(described: RandomModel, error: Exception) -> Outcome:
    """A clear error names a site or an argument of the model, or what is wrong with it all."""
    named = re.findall(r"'([^']+)'", str(error))
    text = re.sub(r"'[^']*'|[-+]?\d[\d.e+-]*", "_", str(error))
    reason = f"{type(error).__name__}: {text.removeprefix('model: ')[:90]} … {text[-70:]}"
    return Outcome("refused" if named else "unclear", reason)


def compare(task: ap.Task, module: Any, described: RandomModel) -> None:
    """Raises `Silent` where the task's densities differ from the model's."""
    for seed, rows in enumerate(_sizes(task)):
        case = Case(task, module, described, rows, seed)
        case.whole()
    if task.row_free and not task.tied:
        case.cut()
    if task.row_free:
        case.turned()
    case.factors()
    case.simulations()


def _sizes(task: ap.Task) -> tuple[int, ...]:
    if not task.row_free:
        return (6,)
    return (2, 3) if type(task.model).__name__ == "Marginal" else (5, 9)
