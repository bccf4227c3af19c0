"""The demonstration, run small."""

import sys

import pytest
import xarray as xr

from amortppl.cli import demo


@pytest.mark.slow
def test_demo_agrees_with_nuts_and_writes_what_it_says(tmp_path, capsys):
    pytest.importorskip("sklearn", reason="the demonstration's data come with scikit-learn")
    summary = demo.run(tmp_path / "demo", steps=25, warmup=200, samples=250)
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == ["posterior.nc", "report.html"]
    tree = xr.open_datatree(tmp_path / "demo" / "posterior.nc", engine="h5netcdf").load()
    assert tree["reference_posterior"]["slope"].dims == tree["posterior"]["slope"].dims
    assert list(tree["posterior"].covariate.values[:3]) == ["age", "sex", "bmi"]
    # Two sets of 1000 draws: a mean of 12 latents is off by 0.045 sds of noise each, 0.15 at 3.4
    # sigma; 0.2 more is what a guide of 25 updates may miss.
    assert summary["difference"] < 0.35
    text = capsys.readouterr().out
    assert "slope[bmi]" in text and "k-hat" in text and "report.html" in text
    assert "Compared with NUTS" in (tmp_path / "demo" / "report.html").read_text()


def test_missing_scikit_learn_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        demo.load_data()
