"""Models and methods, by name and by path."""

import textwrap

import pytest

import amortppl as ap
from amortppl import catalogue
from amortppl.cli.listing import summaries
from amortppl.errors import ModelError

FILE = """
    '''A user's models.'''
    import amortppl as ap
    import numpyro, numpyro.distributions as dist

    TASK = {"inputs": {"x": dist.Normal(0, 1)}, "rows": (4, 8)}

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("obs", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    def steep(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 9))
        with numpyro.plate("obs", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    ready = ap.Task(steep, rows=5, inputs=TASK["inputs"])
    number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(FILE))
    return path


def test_every_method_is_found_and_described():
    assert "parametric" in catalogue.names("inference")
    for name in catalogue.names("inference"):
        assert catalogue.method(name) is not None
        assert len(summaries("inference")[name]) > 10


def test_options_of_a_method():
    assert ap.method("parametric", density="gaussian").density == "gaussian"
    with pytest.raises(TypeError, match="densty"):
        ap.method("parametric", densty="gaussian")


def test_models_by_path(file):
    task = ap.model(str(file))
    assert (task.name, task.rows) == ("mine", (4, 8))
    assert ap.model(f"{file}:steep").name == "steep"
    assert ap.model(f"{file}:ready").rows == (5, 5)
    assert ap.model(str(file), rows=(2, 3)).rows == (2, 3)


def test_a_file_runs_once(file):
    assert catalogue.from_file(file) is catalogue.from_file(file)


def test_what_is_not_there(file, tmp_path):
    with pytest.raises(LookupError, match="defines 'model', 'steep'"):
        ap.model(f"{file}:sleep")
    with pytest.raises(ModelError, match="got int"):
        ap.model(f"{file}:number")
    with pytest.raises(LookupError, match="no file"):
        ap.model(str(tmp_path / "none.py"))
    with pytest.raises(LookupError, match="nor a path"):
        ap.model("no_such_model")
    with pytest.raises(LookupError, match="no METHOD"):
        ap.method(str(file))


def test_a_failing_file_is_not_kept(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            catalogue.from_file(path)


def test_a_users_method(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("from amortppl.inference.parametric import Parametric\nMETHOD = Parametric\n")
    assert ap.method(str(path), width=3).width == 3
