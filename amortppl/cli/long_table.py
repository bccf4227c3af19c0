"""`amortppl infer --by`: the posteriors of all datasets of a table in long form."""

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from amortppl.cli.inputs import data_files, expect_outputs, parse_columns
from amortppl.errors import DataError


def refuse_options(given: Mapping[str, Any]) -> None:
    """Refuses options of `infer` that are about one dataset.

    Args:
        given: by name; what was not given is None or False.

    Raises:
        DataError: naming the first of them.
    """
    for name, value in given.items():
        if value is not None and value is not False:
            raise DataError(f"--{name} is for one dataset, --by for many; leave out one")


def infer_table(
    guide: Path,
    data: str,
    by: str,
    out: Path,
    *,
    trust_code: list[str],
    trust: str | None,
    budget: float | None,
    columns: list[str],
    quiet: bool,
    **options: Any,
) -> None:
    """Writes the table, and says how many datasets it has."""
    if out.suffix.lower() not in (".parquet", ".pq", ".parq"):
        raise DataError(f"--out: with --by it is a Parquet file; name it so, not {out.name}")
    expect_outputs((out,), [guide, *data_files(data)])
    from amortppl.guide.load import load
    from amortppl.guide.options import ladder_of
    from amortppl.many.run import write_table

    options |= {"columns": parse_columns(columns), "progress": not quiet}
    climb = ladder_of(trust, {} if budget is None else {"budget": budget})
    trained = load(guide, trust_code=trust_code)
    gc.freeze()  # collections need not pass over JAX's objects again and again
    count = write_table(trained, data, by, out, climb=climb, **options)
    if not quiet:
        before = f", after {count.resumed:,} of an earlier run" if count.resumed else ""
        typer.echo(f"{count.datasets:,} datasets{before}; {count.reliable:,} are reliable")
        typer.echo(f"posteriors: {out}")
