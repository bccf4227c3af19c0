"""Every script in examples/ runs small and leaves its figure."""

from pathlib import Path

import matplotlib
import pytest

from amortppl import catalogue

SCRIPTS = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
SMALL = {
    "many_datasets": {"datasets": 6},
    "nuts_start": {"draws": 20},
    "svi_finetune": {"tune": 20},
    "million_rows": {"rows": 5000},
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example_runs_and_draws(script, tmp_path):
    matplotlib.use("Agg")
    figure = tmp_path / "figure.png"
    catalogue.from_file(script).main(steps=2, out=figure, **SMALL.get(script.stem, {}))
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert figure.stat().st_size > 10_000


def test_examples_were_found():
    assert {"first_guide", "many_datasets", "own_model", "nuts_start", "svi_finetune"} <= {s.stem for s in SCRIPTS}
