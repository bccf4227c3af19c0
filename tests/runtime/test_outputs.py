"""Nothing that is read, or that another keeps, is written over."""

import os

import pytest

from amortppl.runtime.files import pack, read_plain, write
from amortppl.runtime.outputs import expect_kept, expect_output


def test_an_input_is_no_output(tmp_path):
    (tmp_path / "rows.csv").write_text("x")
    (tmp_path / "link.csv").symlink_to("rows.csv")
    os.link(tmp_path / "rows.csv", tmp_path / "hard.csv")
    for name in ("rows.csv", "link.csv", "hard.csv", "../" + tmp_path.name + "/rows.csv"):
        with pytest.raises(OSError, match="read by the same command"):
            expect_output(tmp_path / name, [tmp_path / "rows.csv"])
    expect_output(tmp_path / "new.csv", [tmp_path / "rows.csv", tmp_path / "none"])


def test_only_plain_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name, kind in (("pipe", "a pipe"), ("null", "a device"), (".", "a folder")):
        with pytest.raises(OSError, match=kind):
            write(tmp_path / name, b"")
        if name != ".":
            with pytest.raises(ValueError, match=kind):
                read_plain(tmp_path / name)
    with pytest.raises(OSError, match="no name for a file"):
        write(f"{tmp_path}/a\0b", b"")
    write(tmp_path / ("n" * 250), b"long")
    with pytest.raises(OSError, match="too long"):
        write(tmp_path / ("n" * 300), b"")


def test_a_guides_folder_takes_nothing_else(tmp_path):
    for name in ("guide.json", "weights.safetensors"):
        (tmp_path / name).write_text("")
    for name in ("posterior.nc", "weights.safetensors", "deeper/posterior.nc"):
        with pytest.raises(OSError, match="inside a guide's folder"):
            expect_output(tmp_path / name)


def test_only_its_own_kind_is_replaced(tmp_path):
    path = tmp_path / "state"
    other = pack({}, {"other": 1})
    for content, words in ((b"notes", "may be replaced"), (other, "holds something")):
        path.write_bytes(content)
        with pytest.raises(OSError, match=words):
            expect_kept(path, "kinds")
        assert path.read_bytes() == content
    path.write_bytes(pack({}, {"kinds": {}}))
    expect_kept(path, "kinds")
