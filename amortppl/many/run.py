"""A table of the posteriors of millions of datasets, written as they come.

Each chunk of datasets becomes a Parquet file in a folder beside the output. A run that was cut
short goes on after the last of them. In the end they are joined, in order, and the folder goes.
"""

import json
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from amortppl.data.columns import Columns
from amortppl.data.sources.choose import expand
from amortppl.data.sources.identity import FileSeen
from amortppl.errors import DataError
from amortppl.many.answers import Answers
from amortppl.many.groups import count_rows
from amortppl.many.table import CHUNK, answer_chunks, converter
from amortppl.runtime.files import write
from amortppl.runtime.outputs import expect_output
from amortppl.runtime.progress import Progress
from amortppl.training.trained import TrainedMethod
from amortppl.trust.attempt import Ladder


class Count(NamedTuple):
    """Of a finished run: datasets, and how many are reliable; of those that this run answered."""

    datasets: int
    reliable: int
    resumed: int


def write_table(
    guide: TrainedMethod,
    data: str | Path,
    by: str,
    out: str | Path,
    *,
    draws: int = 1000,
    seed: int = 0,
    columns: Columns | None = None,
    climb: Ladder | None = None,
    output: str = "summary",
    progress: bool = True,
) -> Count:
    """The posteriors of all datasets of a file in long form, as a Parquet file.

    Args:
        guide: the guide.
        data: a Parquet, CSV or TSV file, a folder of Parquet files, or a pattern.
        by: the column that names the dataset of each row.
        out: the Parquet file to write.
        draws, seed, columns: as in `Guide.infer`.
        climb: the ladder, or None for the guide's own answer.
        output: "summary", a row for each dataset and latent; "draws", one for each draw.
        progress: whether to report while it runs.

    Raises:
        DataError: the data do not fit, or an unfinished run of another kind is in the way.
        OSError: the output cannot be written, or would replace an input.
    """
    if guide.task.grouping:
        raise DataError(
            f"data: the rows of each dataset of {guide.task.name} lie in groups of "
            f"{guide.task.grouping.name!r}, which a table of many datasets does not tell apart; "
            "pass a list of datasets to guide.infer"
        )
    out, convert = Path(out), converter(output)
    expect_output(out, expand(data))
    parts = Parts(out, _job(guide, data, by, draws, seed, columns, climb, output))
    done, rows, counts = parts.begin(), 0, np.zeros(2, int)
    chunks = answer_chunks(guide, str(data), by, draws, seed, columns, climb, done)
    with Progress("rows", count_rows(data), "posteriors by dataset", progress) as shown:
        for number, each in enumerate(chunks):
            if isinstance(each, Answers):
                parts.write(number, convert(each, by))
                counts += len(each.names), int(each.checks["reliable"].sum())
                rows += int(each.checks["rows"].sum())
                shown.update(rows, f"{counts[0]:,} datasets, {counts[1]:,} reliable")
            else:
                rows += each
    parts.join()
    return Count(int(counts[0]), int(counts[1]), done * CHUNK)


def _job(guide: TrainedMethod, data: Any, by: str, *options: Any) -> dict[str, Any]:
    """What tells one run from another."""
    files = [vars(FileSeen.of(p, "0/1")) for p in expand(data)]
    told = json.dumps([guide.identity, files, by, CHUNK, *map(str, options)])
    return {"job": sha256(told.encode()).hexdigest(), "guide": guide.hash, "data": str(data)}


class Parts:
    """The folder of an unfinished table.

    Args:
        out: the table.
        job: what tells this run from others.
    """

    def __init__(self, out: Path, job: Mapping[str, Any]) -> None:
        self.out, self.job = out, dict(job)
        self.folder = out.with_name(f".{out.name[:200]}.parts")

    def begin(self) -> int:
        """How many chunks an earlier run has finished.

        Raises:
            DataError: that run had another guide, other data or options.
        """
        note = self.folder / "job.json"
        if not note.exists():
            write(note, json.dumps(self.job).encode())
            return 0
        try:
            job = json.loads(note.read_bytes())
        except ValueError as error:
            raise DataError(f"out: {note} is damaged ({error}); delete {self.folder}") from error
        if job != self.job:
            raise DataError(
                f"out: {self.folder} holds an unfinished run of another guide, other data or "
                f"options; name another file, or delete that folder"
            )
        return next(
            n for n in range(len(list(self.folder.iterdir())) + 1) if not self._at(n).exists()
        )

    def write(self, number: int, table: pd.DataFrame) -> None:
        """Keeps the rows of a chunk."""
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), buffer)
        write(self._at(number), buffer.getvalue().to_pybytes())

    def join(self) -> None:
        """Joins the chunks to the table, in one move, and removes the folder."""
        paths = sorted(self.folder.glob("*.parquet"))
        name = self.out.with_name(f".{self.out.name[:200]}.{token_hex(4)}")
        try:
            with pq.ParquetWriter(name, pq.read_schema(paths[0])) as file:
                for path in paths:
                    file.write_table(pq.read_table(path))
            name.replace(self.out)
        finally:
            name.unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def _at(self, number: int) -> Path:
        return self.folder / f"{number:09d}.parquet"
