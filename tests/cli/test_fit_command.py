"""`amortppl fit`: one command from a table to an answer, and one message for each mistake."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from amortppl.cli.commands import app


def call(*words):
    return CliRunner().invoke(app, ["fit", *map(str, words)])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a table as people write it, and new rows."""
    folder = tmp_path_factory.mktemp("fit")
    random = np.random.default_rng(0)
    x = random.normal(10, 2, 60)
    frame = pd.DataFrame({"dose": x, "site": random.choice(["north", "south"], 60)})
    frame["gain"] = 3.0 + 0.5 * x + random.normal(size=60)
    frame.to_csv(folder / "table.csv", index=False, sep=";", decimal=",")
    frame.assign(dose=frame.dose.where(frame.index != 2)).to_csv(folder / "holes.csv", index=False)
    pd.DataFrame({"dose": [8.0, 12.0], "site": "south"}).to_csv(folder / "new.csv", index=False)
    (folder / "page.html").write_text("a page of mine")
    return folder


def test_a_table_is_answered_in_one_command(home, monkeypatch):
    """The slope of least squares, of which the priors move 0.001, has standard error 0.07; 0.02 are
    five Monte-Carlo errors of 300 draws.
    """
    monkeypatch.chdir(home)
    words = ["gain ~ dose + site", "table.csv", "--predict", "new.csv", "--source", "program.py"]
    result = call(
        *words,
        "--prior",
        "site=Normal(0, 1)",
        "--compare",
        "gain ~ 1",
        "gain ~ site",
        "--draws",
        300,
    )
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "decimal commas" in result.stdout and "site[south]: Normal(0, 1)" in result.stdout
    assert re.search(r"^good: \w+ passed its check", result.stdout, re.M)
    slope = float(re.search(r"^dose +(\S+)", result.stdout, re.M).group(1))
    frame = pd.read_csv("table.csv", sep=";", decimal=",")
    columns = np.column_stack([np.ones(60), frame.site == "south", frame.dose])
    assert abs(slope - np.linalg.lstsq(columns, frame.gain, rcond=None)[0][2]) < 0.02
    tree = xr.open_datatree("posterior.nc", engine="h5netcdf")
    assert tree["posterior"]["column"].values.tolist() == ["dose", "site[south]"]
    tree.close()
    assert "gain ~ dose + site" in (home / "report.html").read_text()
    assert "def model(x, gain=None)" in (home / "program.py").read_text()
    predicted = pd.read_csv("predictions.csv")
    expected = predicted.gain_mean - 3.0 - 0.5 * predicted.dose
    assert (expected.abs() < 1.0).all() and (predicted.gain_sd > 0.7).all()
    compared = result.stdout[result.stdout.index("elpd") :]
    assert compared.index("gain ~ dose + site") < compared.index("gain ~ 1")
    assert "gain ~ site" in compared


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["gain ~ dos", "table.csv"], "did you mean 'dose'"),
        (["gain ~ dose +", "table.csv"], "^"),
        (["gain ~ dose", "holes.csv"], "--missing drop"),
        (["gain ~ dose", "table.csv", "--family", "poisson"], "'gamma' or 'gaussian' would fit"),
        (["gain ~ dose", "table.csv", "--prior", "dose"], "NAME=DISTRIBUTION"),
        (["gain ~ dose", "table.csv", "--trust", "me"], "expected 'ladder' or 'none'"),
        (["gain ~ dose", "none.csv"], "none.csv"),
        (["gain ~ dose", "example:irs"], "did you mean 'iris'"),
        (["gain ~ dose", "table.csv", "--by", "stie"], "did you mean 'site'"),
        (["gain ~ dose", "table.csv", "--by", "site", "--compare", "gain ~ 1"], "leave out --by"),
        (["gain ~ dose", "table.csv", "--out", "table.csv"], "is read by the same command"),
    ],
)
def test_mistakes_are_one_message(home, monkeypatch, words, saying):
    monkeypatch.chdir(home)
    result = call(*words)
    assert result.exit_code == 1, result.output
    assert len(re.findall("^Error: ", result.stderr, re.M)) == 1
    assert "Traceback" not in result.output and saying in result.stderr, result.stderr


@pytest.mark.slow
def test_levels_seeds_and_draws_without_a_ladder(home, monkeypatch, tmp_path):
    """0.25 sd are 5 Monte-Carlo errors of 400 draws."""
    monkeypatch.chdir(tmp_path)
    slopes = {}
    for name, seed in (("a", 1), ("b", 2)):
        words = ["--by", "site", "--trust", "none", "--seed", seed, "--draws", 400, "--quiet"]
        result = call("gain ~ dose", home / "table.csv", *words, "--out", f"{name}.nc")
        assert result.exit_code == 0, result.output + repr(result.exception)
        fine = re.findall(r"^(\d) of 2 (?:good|usable): ", result.stdout, re.MULTILINE)
        assert sum(map(int, fine)) == 2, result.stdout
        with xr.open_datatree(f"{name}.nc", engine="h5netcdf") as tree:
            assert tree["posterior"]["task"].values.tolist() == ["north", "south"]
            assert "rung_failed" not in tree["sample_stats"]
            slopes[name] = tree["posterior"]["coefficient"].values[:, 0, :, 0]
    assert not np.array_equal(slopes["a"], slopes["b"])
    frame = pd.read_csv(home / "table.csv", sep=";", decimal=",")
    for draws, (_, rows) in zip(slopes["a"], frame.groupby("site"), strict=True):
        estimate = np.polyfit(rows.dose, rows.gain, 1)[0]
        assert abs(draws.mean() - estimate) < 0.3 * draws.std()


@pytest.mark.slow
def test_a_new_site_is_predicted_where_that_is_asked_for(home, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"dose": [8.0], "site": "west"}).to_csv("west.csv", index=False)
    words = ["gain ~ dose + (1 | site)", home / "table.csv", "--predict", "west.csv"]
    words += ["--trust", "none", "--draws", 300, "--prior", "site=HalfNormal(0.1)"]
    refused = call(*words)
    assert refused.exit_code == 1 and "--new-levels" in refused.stderr
    result = call(*words, "--new-levels", "--out", "p.nc", "--report", "r.html")
    assert result.exit_code == 0, result.output + repr(result.exception)
    predicted = pd.read_csv("predictions.csv")
    assert abs(predicted.gain_mean[0] - 7.0) < 1.0


def test_a_file_of_someone_elses_is_not_replaced(home, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").write_text("a page of mine")
    result = call("gain ~ dose", home / "table.csv")
    assert result.exit_code == 1 and "did not write it" in result.stderr
    assert (tmp_path / "report.html").read_text() == "a page of mine"
