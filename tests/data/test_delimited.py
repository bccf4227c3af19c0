"""CSV read whole and in a stream: the same rows, or the same error that says what was seen."""

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pandas as pd
import pytest

import amortppl as ap
from amortppl.data.sources import csv_files
from amortppl.data.sources.whole import read_table
from amortppl.errors import DataError, DesignWarning

X, Y = [1.5, -2.0, 3e5, 0.25], [1.0, 2.0, 3.0, 4.0]
PLAIN = "x,y\n1.5,1\n-2,2\n3e5,3\n.25,4\n"


def streamed(path):
    return pd.concat(list(ap.batches(path, 2, shuffle=None)), ignore_index=True)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(csv_files, "CHUNK", 3)


def zipped(text, *names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, text)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", PLAIN.encode()),
        ("UPPER.CSV", PLAIN.encode()),
        ("dos.csv", PLAIN.replace("\n", "\r\n").encode()),
        ("mac.csv", PLAIN.replace("\n", "\r").encode()),
        ("no_end.csv", PLAIN.strip().encode()),
        ("blank_lines.csv", ("\n\n" + PLAIN.replace("2,2\n", "2,2\n\n") + "\n\n").encode()),
        ("spaces.csv", PLAIN.replace(",", " , ").encode()),
        ("signs.csv", PLAIN.replace("3e5", "+3e5").replace("\n1.5", "\n+1.5").encode()),
        ("quotes.csv", PLAIN.replace("x", '"x"').replace("1.5", '"1.5"').encode()),
        ("mark.csv", PLAIN.encode("utf-8-sig")),
        ("wide.csv", PLAIN.encode("utf-16")),
        ("tabs.tsv", PLAIN.replace(",", "\t").encode()),
        ("tabs.csv", PLAIN.replace(",", "\t").encode()),
        ("semicolons.csv", PLAIN.replace(",", ";").encode()),
        ("rows.csv.gz", gzip.compress(PLAIN.encode())),
        ("gz_by_another_name.csv", gzip.compress(PLAIN.encode())),
        ("rows.csv.bz2", bz2.compress(PLAIN.encode())),
        ("rows.csv.xz", lzma.compress(PLAIN.encode())),
        ("rows.csv.zip", zipped(PLAIN, "rows.csv")),
        ("text.csv", PLAIN.replace(",", ',"a,\nb",').replace('x,"a,\nb"', "x,note").encode()),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_both_ways_read_the_same(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for table in (read_table(tmp_path / name), streamed(tmp_path / name)):
        assert table["x"].tolist() == X and table["y"].tolist() == Y


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x,y\n1,2\n\n3\n", ["line 4: 1 fields", "names 2 columns", "'3'"]),
        ("x,y\n1,2\n3,4,5\n", ["line 3: 3 fields", "'3,4,5'"]),
        ("x,y\na,1,2\nb,3,4\n", ["line 2: 3 fields", "row names"]),
        ('x,y\n"a\nb",2\n1\n', ["line 4: 1 fields"]),
        ("x,y,x\n1,2,3\n", ["line 1", "2 columns are named 'x'"]),
        (b"x,y\n1,caf\xe9\x81\n", ["neither UTF-8 nor Windows-1252"]),
        (b"caf\xe9\x02,y\n1,2\n", ["neither UTF-8 nor"]),
        (b"x\0,y\n1,2\n", ["zero bytes"]),
        ("", ["it is empty"]),
        ("\n \n", ["it is empty"]),
        (gzip.compress(PLAIN.encode())[:-9], ["cannot be read as CSV"]),
        (zipped(PLAIN, "a.csv", "b.csv"), ["a zip of 2 files"]),
        (zipped(PLAIN, "[Content_Types].xml", "a.xml"), ["Excel workbook"]),
        (b"PAR1....", ["it is Parquet"]),
    ],
    ids=range(14),
)
def test_both_ways_refuse_the_same(tmp_path, content, words):
    path = tmp_path / "rows.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    messages = []
    for read in (read_table, streamed):
        with pytest.raises(DataError) as caught:
            read(path)
        assert [w for w in (*words, "rows.csv") if w not in str(caught.value)] == []
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_what_excel_saves_is_read_with_a_word(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes("gr\xf6\xdfe;ort\n1,5;caf\xe9 \u20ac\n".encode("cp1252"))
    for read in (read_table, streamed):
        with pytest.warns(DesignWarning, match="read as Windows-1252"):
            table = read(path)
        assert table["ort"].tolist() == ["caf\xe9 \u20ac"] and "gr\xf6\xdfe" in table


def test_what_is_missing_and_what_is_text(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b,c,d\n1,NA,x,True\n,2.5,1_000,FALSE\n3,nan,1,true\n")
    for table in (read_table(path), streamed(path)):
        np.testing.assert_array_equal(table["a"], [1, np.nan, 3])
        np.testing.assert_array_equal(table["b"], [np.nan, 2.5, np.nan])
        assert table["c"].tolist() == ["x", "1_000", "1"]
        assert table["d"].tolist() == [True, False, True]


def test_whole_numbers_stay_exact(tmp_path):
    (tmp_path / "rows.csv").write_text(f"a\n{2**53 + 1}\n-3\n")
    assert read_table(tmp_path / "rows.csv")["a"].tolist() == [2**53 + 1, -3]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.pq", "rows.parq", "ROWS.PARQUET"])
def test_one_list_of_suffixes(tmp_path, name):
    pd.DataFrame({"x": X, "y": Y}).to_parquet(tmp_path / name)
    for source in (tmp_path / name, tmp_path):
        assert streamed(source)["x"].tolist() == X
    assert read_table(tmp_path / name)["x"].tolist() == X
    (tmp_path / "rows.txt").write_text(PLAIN)
    for read in (read_table, streamed):
        with pytest.raises(DataError, match="should end in one of"):
            read(tmp_path / "rows.txt")
