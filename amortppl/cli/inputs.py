"""What the command line is given: models, columns, tables, and paths to write to."""

from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from amortppl.cli.messages import tell_written
from amortppl.errors import DataError, GuideError, ModelError

if TYPE_CHECKING:
    import pandas as pd

    from amortppl.task.task import Task


def read_task(model: str) -> "Task":
    """The task of a model; what a user's file raises when it runs is told in one line."""
    from amortppl import catalogue

    try:
        return catalogue.model(model)
    except (ModelError, DataError, LookupError, OSError, ImportError):
        raise
    except Exception as error:
        raise ModelError(f"{model}: reading it raised {type(error).__name__}: {error}") from error


def parse_columns(given: list[str]) -> dict[str, str | list[str]]:
    """`["x=age,bmi", "y=target"]` -> columns by argument."""
    named: dict[str, str | list[str]] = {}
    for text in given:
        argument, equals, names = text.partition("=")
        picked = [n.strip() for n in names.split(",") if n.strip()]
        if not equals or not argument.strip() or not picked:
            raise DataError(
                f"--columns: expected ARGUMENT=COLUMN,COLUMN like x=age,bmi, got {text!r}"
            )
        named[argument.strip()] = picked
    return named


def read_table(path: Path) -> "pd.DataFrame":
    """A CSV or Parquet file as a DataFrame."""
    import pandas as pd

    if not path.is_file():
        raise DataError(
            f"{path}: expected a CSV or Parquet file, found "
            f"{'a folder' if path.is_dir() else 'nothing'}"
        )
    parquet = path.suffix.lower() in (".parquet", ".pq")
    try:
        return (
            pd.read_parquet(path)
            if parquet
            else pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",")
        )
    except (ValueError, OSError) as error:
        kind = "Parquet" if parquet else "CSV"
        raise DataError(
            f"{path}: cannot be read as {kind} ({' '.join(str(error).split())})"
        ) from error


def open_stream(data: str, size: int | None, columns: dict[str, Any], in_order: bool) -> Any:
    """Mini-batches of files."""
    from amortppl.data.batches import batches

    order: dict[str, Any] = {"shuffle": None} if in_order else {}
    return batches(data, size or 4096, columns=columns, **order)


def expect_writable(path: Path) -> None:
    """Finds out now, before any work, whether a file can be put at a path; leaves nothing behind.

    Raises:
        OSError: it cannot.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a name for a file, this is a folder")
    with tell_written(path):
        existing = next(p for p in path.absolute().parents if p.exists())
        with TemporaryFile(dir=existing):
            pass


def expect_free(path: Path) -> None:
    """Finds out now whether a guide can be saved at a path: a new folder, an empty one, or an older
    guide's.
    """
    if (
        path.exists()
        and not (path / "guide.json").exists()
        and (path.is_file() or any(path.iterdir()))
    ):
        raise GuideError(f"{path} exists and is not a guide; name another folder")
    expect_writable(path / "guide.json")
    expect_writable(path.with_name(f"{path.name}.checkpoint"))
