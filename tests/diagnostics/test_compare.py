"""The comparison of methods: its table, its files, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from amortppl.cli.commands import app
from amortppl.diagnostics.compare import compare
from amortppl.errors import DataError

FILE = """
'''Mean of a Gaussian, with its exact posterior.'''
import jax.random as jr
import numpyro, numpyro.distributions as dist

TASK = {"rows": (4, 16)}

def model(n, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("row", n):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)

def exact_posterior(data, key, draws):
    precision = 1 + len(data["y"])
    return {"mu": data["y"].sum() / precision + jr.normal(key, (draws,)) / precision**0.5}
"""


BLOCK = """
'''Mean of a Gaussian by a block of eight numbers.'''
import numpyro, numpyro.distributions as dist

TASK = {"rows": None}

def model(y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 1).expand([8]).to_event(1), obs=y)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mean.py"
    path.write_text(FILE)
    return str(path)


@pytest.mark.slow
def test_an_exact_method_has_no_gap_and_one_that_cannot_serve_says_why(file):
    """Laplace is exact here, its predictive a mean of 500 draws: the gap's error is below 0.01 a
    dataset.
    """
    table = compare(file, ["laplace", "versa"], datasets=4)
    own = table[table.method == "laplace"]
    assert set(zip(own["rows"], own["steps"], strict=True)) == {
        (4, 1),
        (8, 1),
        (16, 1),
        (16, 4),
        (16, 16),
    }
    np.testing.assert_allclose(own["gap"], 0, atol=0.02)
    assert (
        (own["lpd_se"] > 0).all()
        and own["rmse"].between(0.7, 1.4).all()
        and (own["pit"] < 0.3).all()
    )
    assert own["accuracy"].isna().all()  # not classes
    assert "it classifies" in table[table.method == "versa"]["error"].item()


@pytest.mark.slow
def test_blocks_are_scored_by_their_latents(tmp_path):
    """Laplace is exact: -1/2 log(2 pi e / 9) = -0.320 nats and an error of 1/3 sd. The bounds are
    4.5 standard errors of 200 datasets; the largest distance of uniform transforms is above 0.14
    once in 2000.
    """
    path, out = tmp_path / "eight.py", tmp_path / "scores.csv"
    path.write_text(BLOCK)
    options = ["--methods", "laplace,versa", "--datasets", "200", "--out", str(out)]
    result = CliRunner().invoke(app, ["compare", str(path), *options])
    assert result.exit_code == 0, result.output
    own, none = pd.read_csv(out).to_dict("records")
    assert abs(own["log_posterior"] + 0.320) < 0.23 and abs(own["rmse"] - 1 / 3) < 0.11
    assert own["pit"] < 0.14 and "block" in none["error"]
    assert out.with_suffix(".png").stat().st_size > 1000


@pytest.mark.slow
def test_a_method_that_needs_a_density_says_so_of_a_simulator():
    table = compare("g_and_k", ["many_chains"], datasets=20)
    assert "this task has none" in table["error"].item()
    with pytest.raises(DataError, match="at least 20"):
        compare("g_and_k", ["many_chains"], datasets=2)


def test_nothing_to_compare_is_refused(file):
    with pytest.raises(DataError, match="at least one method"):
        compare(file, [])
    with pytest.raises(LookupError, match="no_such"):
        compare(file, ["no_such"])


@pytest.mark.parametrize(
    ("name", "value"), [("datasets", 2.5), ("datasets", True), ("seed", 1.5), ("seed", 2**64)]
)
def test_arguments_that_mean_nothing(name, value, file):
    with pytest.raises(DataError, match=name):
        compare(file, ["laplace"], **{name: value})
