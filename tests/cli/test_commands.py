"""The command line, from training to report, and one clear message for each mistake."""

import itertools
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import typer
import xarray as xr
from typer.testing import CliRunner

from amortppl.cli.commands import app
from amortppl.cli.messages import plain_errors

MODEL = '''
import numpyro
import numpyro.distributions as dist


def centre(x, y=None):
    """y_i ~ N(b x_i, 1)."""
    b = numpyro.sample("b", dist.Normal(0, 1))
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(b * x, 1), obs=y)


TASK = {"inputs": {"x": dist.Normal(0, 1)}, "rows": (8, 64)}
'''


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


def works(*words):
    result = call(*words)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def fails(*words, saying):
    """One message on standard error, status 1, no traceback."""
    result = call(*words)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert len(re.findall("^Error: ", result.stderr, re.M)) == 1 and result.stderr.startswith(
        "Error: "
    )
    assert "Traceback" not in result.output
    assert saying in result.stderr, result.stderr
    return result


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a model, data in two formats, new inputs, and a trained guide."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "model.py").write_text(MODEL)
    rng = np.random.default_rng(0)
    age = rng.standard_normal(40)
    frame = pd.DataFrame({"age": age, "target": 0.7 * age + rng.standard_normal(40), "note": "a"})
    frame.to_csv(folder / "data.csv", index=False)
    frame.to_parquet(folder / "data.parquet")
    pd.DataFrame({"age": [0.0, 1.0, 2.0]}).to_csv(folder / "new.csv", index=False)
    trained = works(
        "train", f"{folder / 'model.py'}:centre", "--out", folder / "guide", "--steps", 25
    )
    assert "25 updates" in trained.stdout and "training on" in trained.stderr
    assert not (folder / "guide.checkpoint").exists()
    return folder


COLUMNS = ("--columns", "x=age", "--columns", "y=target")
FEW = ("--draws", 50)


def test_infer_reads_csv_and_parquet_alike(home, tmp_path):
    for kind in ("csv", "parquet"):
        done = works(
            "infer",
            home / "guide",
            home / f"data.{kind}",
            "--out",
            tmp_path / f"{kind}.nc",
            *FEW,
            *COLUMNS,
        )
        assert "k-hat" in done.stdout and (
            "good" in done.stdout or "usable" in done.stdout or "not " in done.stdout
        )
    one, two = (
        xr.open_datatree(tmp_path / f"{k}.nc", engine="h5netcdf").load() for k in ("csv", "parquet")
    )
    assert one["posterior"].sizes["draw"] == 50
    assert one["posterior"].dataset.equals(two["posterior"].dataset)


def test_many_datasets_of_one_table(home, tmp_path):
    frame = pd.read_csv(home / "data.csv").assign(who=np.repeat([3, 1, 2], [10, 20, 10]))
    frame.to_csv(tmp_path / "long.csv", index=False)
    words = ("infer", home / "guide", tmp_path / "long.csv", "--by", "who", *FEW, *COLUMNS)
    done = works(*words, "--out", tmp_path / "posteriors.parquet")
    assert "3 datasets; " in done.stdout and "are reliable" in done.stdout
    table = pd.read_parquet(tmp_path / "posteriors.parquet")
    assert table["who"].tolist() == [3, 1, 2] and table["rows"].tolist() == [10, 20, 10]
    fails(*words, "--out", tmp_path / "p.nc", saying="name it so, not p.nc")
    fails(*words, "--out", tmp_path / "long.csv", saying="name it so")
    fails(*words, "--out", "p.parquet", "--every", 5, saying="--every is for one dataset")


def test_infer_with_report_then_report_alone(home, tmp_path):
    out = tmp_path / "new" / "posterior.nc"
    works(
        "infer",
        home / "guide",
        home / "data.csv",
        "--out",
        out,
        "--report",
        tmp_path / "a.html",
        *FEW,
        *COLUMNS,
    )
    works("report", out, "--out", tmp_path / "b.html")
    works("report", out)
    pages = [(tmp_path / n).read_text() for n in ("a.html", "b.html", "new/posterior.html")]
    assert all("Posterior of centre" in p and "k-hat" in p for p in pages)


@pytest.mark.slow
def test_a_stream_is_kept_continued_and_traced(home, tmp_path):
    """Two days of rows: the second updates the state of the first; the report shows how it grew."""
    rng = np.random.default_rng(1)
    for day in ("one", "two"):
        age = rng.standard_normal(1000)
        pd.DataFrame({"age": age, "target": 0.7 * age + rng.standard_normal(1000)}).to_parquet(
            tmp_path / f"{day}.parquet"
        )
    kept = (
        "--state",
        tmp_path / "state.safetensors",
        "--batch-size",
        128,
        "--every",
        500,
        *FEW,
        *COLUMNS,
    )
    first = works(
        "infer", home / "guide", tmp_path / "one.parquet", "--out", tmp_path / "one.nc", *kept
    )
    assert "1,000 rows" in first.stdout and "streaming" in first.stderr
    page = ("--report", tmp_path / "two.html", "--quiet")
    quiet = works(
        "infer",
        home / "guide",
        tmp_path / "two.parquet",
        "--out",
        tmp_path / "two.nc",
        *kept,
        *page,
    )
    assert quiet.stdout == ""
    tree = xr.open_datatree(tmp_path / "two.nc", engine="h5netcdf").load()
    assert int(tree["sample_stats"]["rows"]) == 2000
    assert tree["trace"]["seen"].values.tolist()[-1] == 2000
    assert "How it grew with the rows" in (tmp_path / "two.html").read_text()


def test_a_folder_is_streamed(home, tmp_path):
    pd.read_csv(home / "data.csv").to_parquet(tmp_path / "part.parquet")
    done = works(
        "infer", home / "guide", tmp_path, "--out", tmp_path / "p.nc", "--passes", 2, *FEW, *COLUMNS
    )
    assert "40 rows" in done.stdout


def test_streams_that_cannot_be_are_named(home, tmp_path):
    out = ("--out", tmp_path / "p.nc")
    fails(
        "infer",
        home / "guide",
        home / "data.csv",
        *out,
        "--passes",
        2,
        *COLUMNS,
        saying="give --batch-size as well",
    )
    fails("infer", home / "guide", tmp_path / "none", *out, *COLUMNS, saying="no file or folder")
    (tmp_path / "state").write_bytes(b"no state")
    spoiled = ("--state", tmp_path / "state")
    fails(
        "infer",
        home / "guide",
        home / "data.csv",
        *out,
        *spoiled,
        *COLUMNS,
        saying="not a complete state",
    )
    assert (tmp_path / "state").read_bytes() == b"no state"


def test_predict(home, tmp_path):
    out = tmp_path / "predictions.nc"
    works(
        "predict",
        home / "guide",
        home / "data.csv",
        "--at",
        home / "new.csv",
        "--out",
        out,
        *FEW,
        *COLUMNS,
    )
    tree = xr.open_datatree(out, engine="h5netcdf").load()
    assert tree["predictions"]["y"].shape == (1, 50, 3)


@pytest.mark.slow
def test_a_guide_is_warmed_and_the_time_is_told(home):
    result = works("warm", home / "guide", "--draws", 50, "--timings")
    assert "loaded; kept in" in result.stdout
    assert "states" in result.stderr and "wall clock" in result.stderr


@pytest.mark.slow
def test_seed_decides_the_draws(home, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        works(
            "infer",
            home / "guide",
            home / "data.csv",
            "--out",
            tmp_path / f"{name}.nc",
            "--seed",
            seed,
            "--draws",
            20,
            *COLUMNS,
        )
    a, b, c = (
        xr.open_datatree(tmp_path / f"{n}.nc", engine="h5netcdf")["posterior"].dataset.load()
        for n in "abc"
    )
    assert a.equals(b) and not a.equals(c)


def test_a_dataset_out_of_range_is_warned_about_in_one_line(home, tmp_path):
    frame = pd.DataFrame({"x": np.full(40, 60.0), "y": np.full(40, 60.0)})
    frame.to_csv(tmp_path / "far.csv", index=False)
    done = works("infer", home / "guide", tmp_path / "far.csv", "--out", tmp_path / "p.nc", *FEW)
    lines = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert any("x" in line and "range trained on" in line for line in lines)
    assert len(lines) == len(done.stderr.splitlines())


def test_models_and_methods_have_a_line_each():
    for kind, name in (("models", "gaussian_mean"), ("methods", "parametric")):
        lines = works(kind).stdout.splitlines()
        assert any(line.startswith(name) and len(line.split()) > 3 for line in lines)


def test_help_is_quick_because_jax_waits():
    code = "import sys, typer.main, amortppl.cli.commands as c; typer.main.get_command(c.app); print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "False"
    assert "train" in works("--help").output


@pytest.mark.parametrize(
    ("data", "columns", "saying"),
    [
        (None, COLUMNS, "no file or folder"),
        ("", COLUMNS, "cannot be read as CSV"),
        ("age,target\n1,2\n", (), "no column 'x'"),
        (
            "age,target\n1,2\n",
            ("--columns", "x=agee", "--columns", "y=target"),
            "did you mean 'age'",
        ),
        ("age,target\n1,2\n", ("--columns", "z=age"), "'z' is not an argument"),
        ("age,target\n1,2\n", ("--columns", "age"), "expected ARGUMENT=COLUMN"),
        ("age,target\n1,a\n2,b\n", COLUMNS, "should hold numbers"),
        ("age,target\n1,2\n3,\n", COLUMNS, "are missing, or infinite"),
    ],
)
def test_bad_data_is_one_message_and_leaves_nothing(home, tmp_path, data, columns, saying):
    source = tmp_path / "in.csv"
    if data is not None:
        source.write_text(data)
    fails(
        "infer", home / "guide", source, "--out", tmp_path / "out" / "p.nc", *columns, saying=saying
    )
    assert set(tmp_path.iterdir()) <= {source}


def test_damaged_parquet(home, tmp_path):
    bad = tmp_path / "bad.parquet"
    bad.write_bytes((home / "data.parquet").read_bytes()[:100])
    fails(
        "infer",
        home / "guide",
        bad,
        "--out",
        tmp_path / "p.nc",
        *COLUMNS,
        saying="cannot be read as Parquet",
    )
    assert set(tmp_path.iterdir()) == {bad}


def test_no_guide_there(home, tmp_path):
    (tmp_path / "empty").mkdir()
    for where in ("nowhere", "empty"):
        fails(
            "infer",
            tmp_path / where,
            home / "data.csv",
            "--out",
            tmp_path / "p.nc",
            *COLUMNS,
            saying="guide",
        )
    assert not (tmp_path / "p.nc").exists()


def test_places_that_cannot_be_written_are_found_before_training(home, tmp_path):
    (tmp_path / "file").write_text("mine")
    model = f"{home / 'model.py'}:centre"
    fails("train", model, "--out", tmp_path / "file", "--steps", 25, saying="not a guide")
    fails(
        "train",
        model,
        "--out",
        tmp_path / "file" / "guide",
        "--steps",
        25,
        saying="cannot be written",
    )
    fails(
        "infer",
        home / "guide",
        home / "data.csv",
        "--out",
        tmp_path,
        *COLUMNS,
        saying="this is a folder",
    )
    fails(
        "report",
        home / "data.csv",
        "--out",
        tmp_path / "file" / "r.html",
        saying="cannot be written",
    )
    assert [p.name for p in tmp_path.iterdir()] == ["file"] and (
        tmp_path / "file"
    ).read_text() == "mine"


def test_a_disk_that_fills_up_leaves_the_older_file(home, tmp_path, monkeypatch):
    out = tmp_path / "p.nc"
    out.write_bytes(b"older")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    fails(
        "infer",
        home / "guide",
        home / "data.csv",
        "--out",
        out,
        *COLUMNS,
        saying="p.nc: cannot be written (No space left",
    )
    assert [p.name for p in tmp_path.iterdir()] == ["p.nc"] and out.read_bytes() == b"older"


@pytest.mark.parametrize(
    ("text", "where", "saying"),
    [
        (None, "gausian_mean", "did you mean 'gaussian_mean'"),
        (None, "none.py", "no file at"),
        ("def f(:\n", "model.py", "SyntaxError"),
        ("import missing_package_xyz\n", "model.py", "missing_package_xyz"),
        ("1 / 0\n", "model.py", "ZeroDivisionError"),
        (MODEL, "model.py:other", "it defines 'centre'"),
    ],
)
def test_bad_models_are_one_message_and_leave_nothing(tmp_path, text, where, saying):
    if text is not None:
        (tmp_path / "model.py").write_text(text)
    place = tmp_path / where if ".py" in where else where
    fails("train", place, "--out", tmp_path / "guide", "--steps", 25, saying=saying)
    assert {p.name for p in tmp_path.iterdir()} <= {"model.py", "__pycache__"}


def test_bad_training_wishes(home, tmp_path):
    model = f"{home / 'model.py'}:centre"
    fails(
        "train",
        model,
        "--out",
        tmp_path / "g",
        "--method",
        "parametrc",
        saying="did you mean 'parametric'",
    )
    fails("train", model, "--out", tmp_path / "g", "--steps", 25, "--minutes", 1, saying="not both")
    fails("train", model, "--out", tmp_path / "g", "--steps", 25, "--resume", saying="found none")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_run_is_continued(home, tmp_path, monkeypatch):
    out, model = tmp_path / "guide", f"{home / 'model.py'}:centre"
    length = ("--steps", 50, "--seed", 3)

    def stop(self, record):
        if record.steps > 25:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        hours = itertools.count(step=3600)
        patch.setattr(
            sys.modules["amortppl.training.loop"],
            "time",
            SimpleNamespace(monotonic=lambda: float(next(hours))),
        )
        patch.setattr("amortppl.training.progress.Training.look", stop)
        stopped = call("train", model, "--out", out, *length)
    assert stopped.exit_code == 130 and "--resume continues the run" in stopped.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["guide.checkpoint"]
    fails("train", model, "--out", out, *length, saying="unfinished run")
    fails(
        "train",
        model,
        "--out",
        out,
        "--steps",
        75,
        "--seed",
        3,
        "--resume",
        saying="another schedule",
    )
    assert (
        "50 updates" in works("train", model, "--out", out, *length, "--resume", "--seed", 3).stdout
    )
    assert [p.name for p in tmp_path.iterdir()] == ["guide"]


def test_output_never_replaces_input(home, tmp_path):
    for name in ("data.csv", "new.csv"):
        shutil.copy(home / name, tmp_path / name)
    (tmp_path / "link.nc").symlink_to("data.csv")
    data, before = tmp_path / "data.csv", (tmp_path / "data.csv").read_bytes()
    infer = ("infer", home / "guide", data, *COLUMNS, *FEW)
    fine = ("--out", tmp_path / "p.nc")
    for words in (
        (*infer, "--out", data),
        (*infer, "--out", tmp_path / "link.nc"),
        (*infer, *fine, "--report", data),
        (*infer, *fine, "--state", data),
        (*infer, *fine, "--report", tmp_path / "p.nc"),
        (
            "predict",
            home / "guide",
            data,
            "--at",
            tmp_path / "new.csv",
            "--out",
            tmp_path / "new.csv",
        ),
        ("report", data, "--out", data),
    ):
        fails(*words, saying="is read by the same command")
    for place in (home / "guide" / "p.nc", home / "guide" / "weights.safetensors"):
        fails(*infer, "--out", place, saying="lies inside a guide's folder")
    fails(*infer, "--out", "/dev/null", saying="found a device")
    fails(*infer, "--out", tmp_path / ("n" * 300), saying="too long")
    assert data.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"data.csv", "new.csv", "link.nc"}


def test_the_same_rows_count_once(home, tmp_path):
    state = ("--state", tmp_path / "state", "--out", tmp_path / "p.nc", *COLUMNS, *FEW)
    first = works("infer", home / "guide", home / "data.csv", *state)
    assert "40 rows" in first.stdout
    before = (tmp_path / "state").read_bytes()
    fails("infer", home / "guide", home / "data.csv", *state, saying="has seen")
    assert (tmp_path / "state").read_bytes() == before


def test_a_strangers_guide_needs_trust(home, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    infer = ("infer", home / "guide", home / "data.csv", "--out", tmp_path / "p.nc", *COLUMNS, *FEW)
    fails(*infer, saying="not saved by you on this machine")
    assert not (tmp_path / "p.nc").exists()
    done = works(*infer, "--trust-code", home / "model.py")
    assert f"running the trusted file {home / 'model.py'}" in done.stderr


@pytest.mark.slow
def test_a_full_disk_leaves_the_run_to_save(home, tmp_path, monkeypatch):
    """The guide's folder cannot be written, the checkpoint could."""
    out, model = tmp_path / "guide", f"{home / 'model.py'}:centre"

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("amortppl.guide.storage.write", full)
        quiet = ("--steps", 25, "--quiet")
        told = fails("train", model, "--out", out, *quiet, saying="No space left")
    assert "guide.checkpoint: make room" in told.stderr and "--resume" in told.stderr
    done = works("train", model, "--out", out, "--steps", 25, "--resume")
    assert "25 updates" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["guide"]


@pytest.mark.parametrize(
    ("option", "value", "saying"),
    [
        ("--minutes", "0", "minutes: expected a finite number above 0"),
        ("--seed", 2**64, "seed: expected a whole number"),
    ],
)
def test_lengths_and_seeds_are_named(home, tmp_path, option, value, saying):
    model = f"{home / 'model.py'}:centre"
    fails("train", model, "--out", tmp_path / "g", option, value, saying=saying)
    assert not list(tmp_path.iterdir())


def test_more_draws_than_memory(home, tmp_path):
    many = ("--draws", 10**12, "--out", tmp_path / "p.nc", *COLUMNS)
    fails("infer", home / "guide", home / "data.csv", *many, saying="would take about")


def test_what_jax_says_of_the_machine_is_one_line(capsys):
    for message, words in (
        ("Unknown backend: 'tpuu' requested", "no such platform here"),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes", "not enough memory"),
    ):
        with pytest.raises(typer.Exit), plain_errors():
            raise RuntimeError(message)
        assert words in capsys.readouterr().err
    with pytest.raises(RuntimeError), plain_errors():
        raise RuntimeError("a fault of our own")
