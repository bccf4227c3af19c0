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
    """The slope of least squares has standard error 0.06; a third of it is 20 Monte-Carlo errors."""
    monkeypatch.chdir(home)
    words = ["gain ~ dose + site", "table.csv", "--predict", "new.csv", "--source", "program.py"]
    result = call(*words, "--prior", "site=Normal(0, 1)", "--compare", "gain ~ 1", "--draws", 300)
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "decimal commas" in result.stdout and "site[south]: Normal(0, 1)" in result.stdout
    assert re.search(r"^good: \w+ passed its check", result.stdout, re.M)
    slope = float(re.search(r"^dose +(\S+)", result.stdout, re.M).group(1))
    frame = pd.read_csv("table.csv", sep=";", decimal=",")
    assert abs(slope - np.polyfit(frame.dose, frame.gain, 1)[0]) < 0.02
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
        (["gain ~ dose", "table.csv", "--out", "table.csv"], "is read by the same command"),
    ],
)
def test_mistakes_are_one_message(home, monkeypatch, words, saying):
    monkeypatch.chdir(home)
    result = call(*words)
    assert result.exit_code == 1, result.output
    assert len(re.findall("^Error: ", result.stderr, re.M)) == 1
    assert "Traceback" not in result.output and saying in result.stderr, result.stderr


def test_a_file_of_someone_elses_is_not_replaced(home, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").write_text("a page of mine")
    result = call("gain ~ dose", home / "table.csv")
    assert result.exit_code == 1 and "did not write it" in result.stderr
    assert (tmp_path / "report.html").read_text() == "a page of mine"
