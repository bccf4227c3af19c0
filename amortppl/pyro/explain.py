"""What went wrong when a model ran under JAX: the sites concerned, the line of the model, what to
write instead.
"""

import importlib
import linecache
import os
import sysconfig
import traceback
from types import TracebackType
from typing import Any

import jax
from torchax.tensor import OperatorNotFound

from amortppl.errors import ModelError, quoted
from amortppl.pyro import operations
from amortppl.pyro.environment import WRAPPED, sources
from amortppl.pyro.run import Run

NEEDS_A_VALUE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.UnexpectedTracerError,
)
_LIBRARIES = (
    "amortppl",
    "torch",
    "torchax",
    "pyro",
    "jax",
    "numpyro",
    "funsor",
    "multipledispatch",
    "opt_einsum",
)
_ROOTS = {
    n: os.path.join(os.path.dirname(importlib.import_module(n).__file__ or ""), "")
    for n in _LIBRARIES
}
"""Folders of the packages whose lines are not the user's."""

INSTEAD = (
    "Python cannot know it while JAX traces the model. Write torch.where(condition, a, b) for a "
    "branch, keep values "
    "as tensors instead of .item(), float() or .numpy(), and sum out what decides how many sites "
    "there are"
)


def explain(error: Exception, run: Run) -> Exception:
    """The error a user should see: with the site and line for what this library is in charge of,
    else unchanged.
    """
    if isinstance(error, ModelError):
        return _place_of_error(str(error), error, run)
    if isinstance(error, NEEDS_A_VALUE):
        return _place_of_error(
            f"the model's Python needs the value of {_culprits(error, run)}. {INSTEAD}", error, run
        )
    if isinstance(error, OperatorNotFound):
        return _place_of_error(str(operations.refuse(str(error).split()[3])), error, run)
    if isinstance(error, Warning):
        return error
    inside = traceback.extract_tb(error.__traceback__)[-1].filename
    if inside.startswith((_ROOTS["torchax"], _ROOTS["jax"])):
        return _place_of_error(
            f"torch code that cannot run on JAX arrays ({type(error).__name__}: {error})",
            error,
            run,
        )
    return error


def _place_of_error(text: str, error: Exception, run: Run) -> ModelError:
    """A message with its site, where it does not name it yet, and the line of the model."""
    site = f"site '{run.site}': " if run.site and f"'{run.site}'" not in text else ""
    line = _line(error.__traceback__)
    return ModelError(f"{site}{text}{line}")


def _line(where: TracebackType | None) -> str:
    """The innermost line that belongs to no library."""
    frames = [f for f in traceback.extract_tb(where) if not _of_library(f.filename)]
    if not frames:
        return ""
    last = frames[-1]
    code = linecache.getline(last.filename, last.lineno or 0).strip()
    return f" [{last.filename}:{last.lineno}: {code}]"


def _of_library(filename: str) -> bool:
    own = filename.startswith(_ROOTS["amortppl"]) and not filename.startswith(
        _ROOTS["amortppl"] + "models"
    )
    others = any(filename.startswith(root) for name, root in _ROOTS.items() if name != "amortppl")
    standard = filename.startswith(sysconfig.get_path("stdlib")) and "site-packages" not in filename
    return filename.startswith("<") or own or others or standard


def _culprits(error: Exception, run: Run) -> str:
    """What the tensors of the innermost torch operation were computed from; else all latents so
    far.
    """
    found: frozenset[str] = frozenset()
    where = error.__traceback__
    while where is not None:
        tensors = (
            _tensors(where.tb_frame.f_locals)
            if _in_torch(where.tb_frame.f_code.co_filename)
            else []
        )
        found = frozenset().union(*(sources(v) for v in tensors)) if tensors else found
        where = where.tb_next
    if found:
        return f"{quoted(sorted(found))}, which is not known"
    return f"a latent ({quoted(run.latents)} so far), which is not known"


def _in_torch(filename: str) -> bool:
    return filename.startswith((_ROOTS["torch"], _ROOTS["torchax"]))


def _tensors(variables: dict[str, Any]) -> list[Any]:
    direct = list(variables.values())
    listed = [v for values in direct if isinstance(values, list | tuple) for v in values]
    return [v for v in (*direct, *listed) if isinstance(v, WRAPPED)]
