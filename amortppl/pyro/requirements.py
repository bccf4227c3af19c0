"""The optional packages: errors and warnings where they are missing, broken or untested."""

import os
import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from amortppl.errors import VersionWarning

TESTED = {
    "torch": ("2.9", "2.13"),
    "pyro-ppl": ("1.9.1", "1.10"),
    "torchax": ("0.0.13", "0.0.14"),
}
"""Oldest version that was tested, and the first that was not, of each package of the extra."""


@cache
def require() -> None:
    """Imports the extra's packages, leaving settings of torch and JAX as they were.

    Raises:
        ImportError: one of them is missing or cannot be imported.

    Warns:
        VersionWarning: once, a version outside the tested range.
    """
    installed = {name: _version(name) for name in TESTED}
    missing = [name for name, version in installed.items() if version is None]
    if missing:
        raise ImportError(
            f"Pyro models need {', '.join(missing)}, which is not installed: "
            "pip install 'amortppl[pyro]'"
        )
    untested = [text for name, number in installed.items() if (text := _outside(name, number))]
    if untested:
        warnings.warn(
            f"{'; '.join(untested)}. Pyro models may fail or be read wrongly: "
            "pip install 'amortppl[pyro]'",
            VersionWarning,
            stacklevel=3,
        )
    _import(installed)


def _import(installed: dict[str, str | None]) -> None:
    try:
        _import_quietly()
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"torchax {installed['torchax']} cannot be imported beside torch {installed['torch']} "
            f"({error}): pip install 'torch>={TESTED['torch'][0]},<{TESTED['torch'][1]}'"
        ) from error


def _import_quietly() -> None:
    """Imports torchax and undoes its settings.

    It switches off a fast path of torch, and sets an environment variable and an option of JAX.
    """
    import jax
    import torch

    fast, environment = torch.backends.mha.get_fastpath_enabled(), dict(os.environ)
    option = getattr(jax.config, "jax_pjrt_client_create_options", None)
    try:
        import torchax.decompositions
        import torchax.tensor  # noqa: F401
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        if getattr(jax.config, "jax_pjrt_client_create_options", None) != option:
            jax.config.update("jax_pjrt_client_create_options", option)


def _version(name: str) -> Any:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _outside(name: str, number: str) -> str:
    """A sentence where a version is outside the tested ones, else nothing."""
    low, high = TESTED[name]
    if _numbers(low) <= _numbers(number) < _numbers(high):
        return ""
    return f"{name} {number} is outside the tested versions, {low} up to {high}"


def _numbers(text: str) -> tuple[int, ...]:
    """`2.12.1+cu130` -> (2, 12, 1)."""
    parts = text.split("+")[0].split(".")
    return tuple(int(digits) for p in parts if (digits := "".join(c for c in p if c.isdigit())))
