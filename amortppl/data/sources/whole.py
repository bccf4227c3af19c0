"""A file of rows as one table, by the same rules as a stream of it."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from amortppl.data.chunks import join
from amortppl.data.sources.choose import choose, expand, is_parquet
from amortppl.data.sources.parquet_files import DAMAGED
from amortppl.errors import DataError, quoted


def read_table(path: Path) -> pd.DataFrame:
    """A CSV or Parquet file as a DataFrame.

    Raises:
        DataError: no such file, or it cannot be read.
    """
    if path.is_dir():
        raise DataError(f"{path}: expected a CSV or Parquet file, found a folder")
    (file, *_) = expand(path)
    if is_parquet(file):
        try:
            table = pq.read_table(file)
            names = table.column_names
            if len(set(names)) == len(names):
                return table.to_pandas(ignore_metadata=True)
            raise ValueError(f"columns of one name: {quoted(names)}")
        except DAMAGED as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{file}: cannot be read as Parquet ({reason})") from error
    source = choose(file, 1, (0, 1))
    pieces = list(source.pieces(None, 0, None))
    if not pieces:
        return pd.DataFrame(columns=source.names)
    return pd.DataFrame(join(pieces).columns)
