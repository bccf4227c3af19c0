"""Every script in examples/ runs small and leaves its figure."""

from pathlib import Path

import matplotlib
import pytest

from amortppl import catalogue

SCRIPTS = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
SMALL = {
    "local_latents": {"rows": 20, "most": 20},
    "nuts_start": {"draws": 20},
    "svi_finetune": {"tune": 20},
    "neutra": {"draws": 20},
    "pyro_svi": {"tune": 3, "draws": 10},
}

DEAREST = {"local_latents", "neutra", "svi_finetune"}
"""Scripts whose parts other tests run: a release runs them."""


def by_cost():
    dearest = pytest.mark.release
    return [pytest.param(s, marks=[dearest] if s.stem in DEAREST else []) for s in SCRIPTS]


@pytest.mark.slow
@pytest.mark.parametrize("script", by_cost(), ids=lambda path: path.stem)
def test_example_runs_and_draws(script, tmp_path):
    if script.stem.startswith("pyro_"):
        pytest.importorskip("torch", reason="the extra `pyro` is not installed")
    matplotlib.use("Agg")
    figure = tmp_path / "figure.png"
    catalogue.from_file(script).main(steps=2, out=figure, **SMALL.get(script.stem, {}))
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert figure.stat().st_size > 10_000


def test_examples_were_found():
    assert {
        "first_guide",
        "own_model",
        "nuts_start",
        "svi_finetune",
        "neutra",
        "pyro_svi",
    } <= {s.stem for s in SCRIPTS}
