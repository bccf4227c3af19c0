"""One reader of delimited text, for whole files and for streams alike.

A first line of names, then lines of as many fields. The separator, the encoding and the
compression are read off the file; a line of another length is an error, and so is a name that
comes twice. A column is of numbers where all its cells are numbers or missing, else of text.
"""

import bz2
import csv
import gzip
import io
import lzma
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from amortppl.data.sources.encoding import encoding_of
from amortppl.errors import DataError, quoted

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "NULL", "null", "None", "<NA>")
"""Cells that stand for a missing number."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}

OTHERS = (";", "\t", ",", "|")
"""Separators looked for where a line of names has one name by the file's own."""

BLOCK = 1 << 22
"""Bytes parsed at a time; a line may not be longer."""

BROKEN = (OSError, EOFError, ValueError, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)
"""What reading a damaged file raises; pyarrow's own errors are ValueErrors or OSErrors."""


class Layout(NamedTuple):
    """How a file is written.

    Attributes:
        names: of the columns.
        separator: between fields.
        encoding: of the text.
        skip: lines up to the end of the names.
        empty: whether nothing follows them.
    """

    names: list[str]
    separator: str
    encoding: str
    skip: int
    empty: bool


def read_layout(path: Path) -> Layout:
    """Names of the columns and how a file is written, read off its beginning.

    Raises:
        DataError: it is no delimited text, or two columns have one name.
    """
    try:
        with _opened(path) as stream:
            head = stream.read(BLOCK)
            encoding = encoding_of(path, head, len(head) < BLOCK)
            text = head.decode(encoding, "ignore" if len(head) == BLOCK else "strict")
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    except BROKEN as error:
        raise broken(path, error) from error
    if not text.strip():
        raise broken(path, ValueError("it is empty"))
    first = next(line for line in text.splitlines() if line.strip())
    separator = _separator(path, first)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = next(row for row in rows if row)
    except csv.Error as error:
        raise broken(path, error) from error
    names = [n.strip() or f"Unnamed: {i}" for i, n in enumerate(names)]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise DataError(
            f"data: {path}, line {rows.line_num}: {names.count(twice)} columns are named "
            f"{twice!r}; give each its own name"
        )
    empty = next((row for row in rows if row), None) is None
    return Layout(names, separator, encoding, _lines(text), empty)


def read_columns(
    path: Path, layout: Layout, wanted: Sequence[str] | None, rows: int
) -> Iterator[dict[str, np.ndarray]]:
    """Columns of a file, by so many rows.

    Args:
        wanted: the columns to read; None for all.

    Raises:
        DataError: a line has more or fewer fields than there are names (which line), or the file is
            damaged.
    """
    if layout.empty:
        return
    names = layout.names if wanted is None else list(wanted)
    try:
        with _opened(path) as stream:
            for table in _tables(stream, layout, names, rows):
                yield {n: as_values(table.column(n).combine_chunks()) for n in names}
    except pa.ArrowInvalid as error:
        raise _ragged(path, layout) or _not_text(path, error) from error
    except BROKEN as error:
        raise broken(path, error) from error


def _tables(stream: IO[bytes], layout: Layout, names: list[str], rows: int) -> Iterator[pa.Table]:
    reader = pacsv.open_csv(
        pa.PythonFile(stream, mode="r"),
        pacsv.ReadOptions(
            block_size=BLOCK,
            column_names=layout.names,
            skip_rows=layout.skip,
            encoding=layout.encoding,
        ),
        pacsv.ParseOptions(delimiter=layout.separator, newlines_in_values=True),
        pacsv.ConvertOptions(
            column_types={n: pa.string() for n in names},
            include_columns=names,
            strings_can_be_null=False,
        ),
    )
    held, count = [], 0
    for batch in reader:
        held, count = [*held, batch], count + batch.num_rows
        while count >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows)
            held, count = table.slice(rows).to_batches(), count - rows
    if count:
        yield pa.Table.from_batches(held)


def as_values(cells: Any) -> np.ndarray:
    """Cells as numbers where all are numbers, truth values or missing; else as text."""
    try:
        return _numbers(cells.cast(pa.float64()), cells)
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(cells)
    missing = pc.is_in(trimmed, pa.array(MISSING))
    texts = pc.if_else(missing, None, pc.replace_substring_regex(trimmed, r"^\+(\d)", r"\1"))
    try:
        return _numbers(texts.cast(pa.float64()), texts)
    except pa.ArrowInvalid:
        lower = pc.utf8_lower(texts)
    truth = pc.is_in(lower, pa.array(["true", "false"]))
    if not texts.null_count and pc.all(truth).as_py():
        return pc.equal(lower, "true").to_numpy(zero_copy_only=False)
    return cells.to_numpy(zero_copy_only=False)


def _numbers(parsed: Any, cells: Any) -> np.ndarray:
    """float64, or int64 where all are whole, so that what float64 cannot tell apart stays as it
    is.
    """
    values = parsed.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        whole = bool(np.all(values == np.floor(values)) and np.all(np.abs(values) < 2.0**63))
    if not whole:
        return values
    if np.all(np.abs(values) < 2.0**53):
        return values.astype(np.int64)
    try:
        return cells.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # written as 1e17
        return values


def _opened(path: Path) -> Any:
    """The file's bytes, decompressed by the format that its first bytes show, not by its name."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head[:4] == b"PAR1":
        raise ValueError("it is Parquet; name it so")
    if head[:2] == b"\x1f\x8b":
        return gzip.open(path)
    if head[:3] == b"BZh":
        return bz2.open(path)
    if head[:6] == b"\xfd7zXZ\x00":
        return lzma.open(path)
    if head[:4] == b"\x28\xb5\x2f\xfd":
        return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    return _unzipped(path) if head[:4] == b"PK\x03\x04" else open(path, "rb")


def _unzipped(path: Path) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    names = [n for n in archive.namelist() if not n.endswith("/") and "__MACOSX" not in n]
    if "[Content_Types].xml" in names:
        raise ValueError("it is an Excel workbook; save the sheet as CSV")
    if len(names) != 1:
        raise ValueError(f"it is a zip of {len(names)} files ({quoted(names[:3])}); give one file")
    return archive.open(names[0])


def _separator(path: Path, first: str) -> str:
    own = next((SEPARATORS[s] for s in reversed(_suffixes(path)) if s in SEPARATORS), ",")
    bare = re.sub(r'"[^"]*"', "", first)
    return own if own in bare else max((own, *OTHERS), key=bare.count)


def _suffixes(path: Path) -> list[str]:
    return [s.lower() for s in path.suffixes]


def _lines(text: str) -> int:
    """Lines up to the end of the names: empty ones before them, and those within their quotes."""
    before = len(text) - len(text.lstrip("\r\n"))
    blank = len(text[:before].splitlines())
    quotes, lines = 0, 0
    for line in text[before:].splitlines():
        quotes, lines = quotes + line.count('"'), lines + 1
        if quotes % 2 == 0:
            break
    return blank + lines


def _ragged(path: Path, layout: Layout) -> DataError | None:
    """What is wrong with the first line that has more or fewer fields than there are names."""
    expected = len(layout.names)
    try:
        with _opened(path) as stream:
            text = io.TextIOWrapper(stream, layout.encoding, "replace", newline="")
            rows = csv.reader(text, delimiter=layout.separator)
            for row in rows:
                if row and len(row) != expected:
                    break
            else:
                return None
    except (*BROKEN, csv.Error):
        return None
    line = rows.line_num
    with_names = len(row) == expected + 1 and line == layout.skip + 1
    hint = "; does it begin with row names that the first line does not name?" * with_names
    return DataError(
        f"data: {path}, line {line}: {len(row)} fields, but the first line names {expected} "
        f"columns{hint} (the line is {layout.separator.join(row)[:60]!r})"
    )


def _not_text(path: Path, error: Exception) -> DataError:
    if "UTF8" in str(error) or isinstance(error, UnicodeError):
        return DataError(
            f"data: {path} cannot be read as CSV: it is neither UTF-8 nor "
            f"Windows-1252 ({_reason(error)}). Save it as UTF-8"
        )
    return broken(path, error)


def broken(path: Path, error: Exception) -> DataError:
    """What is said of a file that cannot be read."""
    reason = _reason(error)
    return DataError(f"data: {path} cannot be read as CSV ({reason}); was the copy cut short?")


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
