"""What the command line is given: models, columns, tables, and paths to write to."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from amortppl.cli.messages import tell_written
from amortppl.errors import DataError, ModelError

if TYPE_CHECKING:
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


def open_stream(data: str, size: int | None, columns: dict[str, Any], in_order: bool) -> Any:
    """Mini-batches of files."""
    from amortppl.data.batches import batches

    order: dict[str, Any] = {"shuffle": None} if in_order else {}
    return batches(data, size or 4096, columns=columns, **order)


def expect_writable(path: Path, *inputs: Path | str) -> None:
    """Finds out now, before any work, whether a file can be put at a path; leaves nothing behind.

    Args:
        inputs: files and folders that the same command reads, or other places that it writes to.

    Raises:
        OSError: it cannot, or writing there would destroy something else.
    """
    from amortppl.runtime.outputs import expect_output

    expect_output(path, inputs)
    with tell_written(path):
        existing = next(p for p in path.absolute().parents if p.exists())
        with TemporaryFile(dir=existing):
            pass


def expect_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | str]) -> None:
    """As `expect_writable`, of several files that must not be one another either."""
    taken = list(inputs)
    for path in outputs:
        if path is not None:
            expect_writable(path, *taken)
            taken.append(path)


def expect_free(path: Path) -> None:
    """Finds out now whether a guide can be saved at a path: a new folder, an empty one, or an older
    guide's.
    """
    from amortppl.guide.storage import expect_free as expect_no_other

    expect_no_other(path)
    for place in (path.parent / f".{path.name[:200]}", path.with_name(f"{path.name}.checkpoint")):
        expect_writable(place)


def data_files(data: str) -> list[Path]:
    """The files that a path or a pattern names; none where there are none."""
    from amortppl.data.sources.choose import expand

    try:
        return expand(data)
    except DataError:
        return []
