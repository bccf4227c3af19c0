"""What the command line says: one line for an error, one for a file that was written."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer

from amortppl.errors import DataError, GuideError, ModelError, TrainingError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors a user can mend as one message and exit status 1; warnings as a line each."""
    with warnings.catch_warnings():
        for quiet in (
            DeprecationWarning,
            PendingDeprecationWarning,
            FutureWarning,
            ResourceWarning,
        ):
            warnings.simplefilter("ignore", quiet)
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = warn
        try:
            yield
        except MemoryError as error:
            _leave("not enough memory for this; ask for fewer draws, or give --batch-size", error)
        except (
            ModelError,
            DataError,
            TrainingError,
            GuideError,
            LookupError,
            OSError,
            ImportError,
        ) as error:
            _leave(message(error), error)
        except RuntimeError as error:
            text = _machine(str(error))
            if text is None:
                raise
            _leave(text, error)


def _leave(text: str, error: BaseException) -> NoReturn:
    typer.secho(f"Error: {text}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1) from error


def _machine(text: str) -> str | None:
    """What JAX says of the machine, in words; None where it is something else."""
    first = text.splitlines()[0] if text else ""
    if "backend" in first and ("nknown" in first or "nable to initialize" in first):
        wanted = os.environ.get("JAX_PLATFORMS") or os.environ.get("JAX_PLATFORM_NAME")
        return f"JAX_PLATFORMS is {wanted!r}, and JAX has no such platform here ({first})"
    if "RESOURCE_EXHAUSTED" in first or "ut of memory" in first:
        return f"not enough memory ({first}); ask for fewer draws, or give --batch-size"
    return None


def warn(message: Warning | str, *_: Any) -> None:
    """Prints a warning in one line on stderr; takes the place of `warnings.showwarning`."""
    typer.secho(f"Warning: {' '.join(str(message).split())}", fg=typer.colors.YELLOW, err=True)


def message(error: Exception) -> str:
    """An error in words: with the file's name where it is the system's, without quotes."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


@contextmanager
def tell_written(path: Path) -> Iterator[None]:
    """Adds the path to any error that writing the file raises."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def tell_timings(wanted: bool) -> Iterator[None]:
    """Writes to stderr where the time went, by program (`amortppl.runtime.timings`)."""
    if not wanted:
        yield
        return
    from amortppl.runtime.timings import timings

    with timings() as spent:
        yield
    typer.echo(spent.table(), err=True)
