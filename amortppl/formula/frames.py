"""Tables of other libraries as pandas, through narwhals."""

from typing import Any

import pandas as pd

from amortppl.errors import DataError


def as_pandas(data: Any) -> Any:
    """A table of any library that narwhals knows (polars, Arrow, Modin, cuDF) as a pandas
    DataFrame; what is no table as it is.

    >>> import pyarrow as pa
    >>> as_pandas(pa.table({"x": [1, 2]}))["x"].tolist(), as_pandas({"x": [1, 2]})
    ([1, 2], {'x': [1, 2]})

    Raises:
        DataError: the table is lazy, as a `polars.LazyFrame` is.
    """
    import narwhals as nw

    if isinstance(data, pd.DataFrame):
        return data
    table = nw.from_native(data, pass_through=True)
    if isinstance(table, nw.LazyFrame):
        raise DataError(
            f"data: expected a table (a DataFrame), got {type(data).__name__}, which has not been "
            "evaluated yet; collect() makes it a table"
        )
    if isinstance(table, nw.DataFrame):
        return table.to_pandas()
    return data.to_pandas() if hasattr(data, "to_pandas") else data
