"""The comparison of methods: its table, its files, and what it refuses."""

import numpy as np
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
def test_command_line_writes_table_and_figure(file, tmp_path):
    out = tmp_path / "scores.csv"
    result = CliRunner().invoke(
        app, ["compare", file, "--methods", "laplace", "--datasets", "2", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert (
        out.read_text().startswith("method,cpu_s,rows,steps,lpd")
        and out.with_suffix(".png").stat().st_size > 1000
    )


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
