"""Without the extra, with other versions, and that torch is not imported before it is needed."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from amortppl.errors import VersionWarning
from amortppl.pyro import requirements

WITHOUT = """
import sys
from importlib import metadata
version_of = metadata.version
def missing(name):
    if name in ("torch", "pyro-ppl", "torchax"):
        raise metadata.PackageNotFoundError(name)
    return version_of(name)
metadata.version = missing
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "pyro", "torchax"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nowhere())
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_without_the_extra():
    told = run(
        """
import amortppl as ap
try:
    ap.from_pyro(lambda: None)
except ImportError as error:
    print("ImportError:", error)
try:
    ap.model("linear_regression_pyro")
except ImportError as error:
    print("ImportError:", error)
print(ap.model("gaussian_mean").name)
"""
    )
    assert "ImportError: Pyro models need torch, pyro-ppl, torchax, which" in told
    assert "ImportError: linear_regression_pyro is a Pyro model" in told
    assert told.count("pip install 'amortppl[pyro]'") == 2
    assert "gaussian_mean" in told


def test_the_command_line_lists_pyro_models_without_the_extra():
    told = run("from amortppl.cli.commands import app\napp(['models'])")
    assert "linear_regression_pyro" in told
    assert "linear_regression  " in told
    assert "pip install 'amortppl[pyro]'" in told


@pytest.mark.parametrize(
    ("release", "outside"),
    [("2.8.1", True), ("2.9.0+cpu", False), ("2.12.1", False), ("2.13.0", True)],
)
def test_tested_versions(release, outside):
    assert bool(requirements._outside("torch", release)) == outside


def test_one_warning_names_all_that_is_outside(monkeypatch):
    pytest.importorskip("torch", reason="the extra `pyro` is not installed")
    monkeypatch.setattr(
        requirements,
        "TESTED",
        {**requirements.TESTED, "torch": ("1.0", "1.1"), "torchax": ("9", "10")},
    )
    requirements.require.cache_clear()
    with pytest.warns(VersionWarning) as caught:
        requirements.require()
        requirements.require()
    assert len(caught) == 1
    assert f"torch {version('torch')}" in str(caught[0].message)
    assert "torchax" in str(caught[0].message)
