"""What the command line says: one line for an error, one for a file that was written."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        except (
            ModelError,
            DataError,
            TrainingError,
            GuideError,
            LookupError,
            OSError,
            ImportError,
        ) as error:
            typer.secho(f"Error: {message(error)}", fg=typer.colors.RED, err=True)
            raise typer.Exit(1) from error


def warn(message: Warning | str, *_: Any) -> None:
    typer.secho(f"Warning: {' '.join(str(message).split())}", fg=typer.colors.YELLOW, err=True)


def message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


@contextmanager
def tell_written(path: Path) -> Iterator[None]:
    """Names the path that was meant in whatever goes wrong while writing it."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror or error})") from error
