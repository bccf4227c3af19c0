"""What a report of a fit shows, against closed forms at given draws; new levels of groups."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import amortppl as ap
from amortppl.fit.effect_groups import add_effects
from amortppl.fit.predictions import predict_rows
from amortppl.report.posterior_page import write_report

RANDOM = np.random.default_rng(4)
N, S = 80, 300
FRAME = pd.DataFrame({"x": RANDOM.normal(50, 10, N), "kind": RANDOM.integers(1, 4, N)})
FRAME["school"] = RANDOM.choice(["a", "b", "c"], N)
FRAME["y"] = RANDOM.normal(size=N)
FRAME["passed"] = np.where(FRAME.x + 10 * RANDOM.normal(size=N) > 50, "yes", "no")
B = np.array([0.05, -0.5, 0.4]) + 0.01 * RANDOM.normal(size=(S, 3))
LEVEL, SD = 1.0 + 0.1 * RANDOM.normal(size=S), np.exp(0.2 * RANDOM.normal(size=(S, 1)))
EFFECT = SD[:, None] * RANDOM.normal(size=(S, 3, 1))


def tree(form, **further):
    """A posterior of given draws."""
    draws = {"coefficient": B, "intercept_at_means": LEVEL, "Intercept": LEVEL, **further}
    axes = {
        n: [*form.dims.get(n, [f"{n}_{i}" for i in range(v.ndim - 1)])] for n, v in draws.items()
    }
    sets = {n: (["chain", "draw", *axes[n]], v[None]) for n, v in draws.items()}
    coords = {n: v for n, v in form.coords.items() if any(n in a for a in axes.values())}
    stats = xr.Dataset({"khat": 0.1, "rows": N, "source": "frame"})
    observed = xr.Dataset({form.argument: ("row", form.data[form.argument])})
    groups = {"/posterior": xr.Dataset(sets, coords=coords), "/sample_stats": stats}
    made = xr.DataTree.from_dict({**groups, "/observed_data": observed})
    made.attrs = {"formula": form.text, "family": form.family, "model_source": form.source()}
    return made


@pytest.fixture(scope="module")
def schools():
    form = ap.formula("y ~ x + C(kind) + (1 | school)", FRAME)
    effects = {"school_sd": SD, "school_effect": EFFECT, "school_standard": EFFECT / SD[:, None]}
    return form, tree(form, sigma=np.ones(S), **effects)


def linear(frame):
    """The linear predictor without groups, (S, N), in float64."""
    columns = lambda t: np.stack([t.x, t.kind == 2, t.kind == 3], 1).astype(float)  # noqa: E731
    return LEVEL[:, None] + B @ (columns(frame) - columns(FRAME).mean(0)).T


def test_expected_rows_and_effects_are_those_of_the_draws(schools, tmp_path):
    form, post = schools
    add_effects(form, post)
    own = EFFECT[:, [list("abc").index(s) for s in FRAME.school], 0]
    expected = post["expected"]["y"]
    np.testing.assert_allclose(expected[:, 0], (linear(FRAME) + own).mean(0), rtol=1e-4)
    grid = pd.DataFrame({"x": FRAME.x.mean(), "kind": [1, 2, 3]})
    by_kind = post["effects"]["kind"]
    assert post["effects"]["kind along"].values.tolist() == ["1", "2", "3"]
    np.testing.assert_allclose(by_kind[:, 0], linear(grid).mean(0), rtol=1e-4)
    np.testing.assert_allclose(by_kind[:, 1], np.quantile(linear(grid), 0.055, 0), rtol=1e-4)
    units = post["effects"]["unit of column"].values
    np.testing.assert_allclose(units[0], FRAME.x.std(ddof=0))
    page = write_report(post, tmp_path / "report.html").read_text()
    for title in ("Effects", "Coefficients side by side", "Groups", "Residuals", "The data"):
        assert f"<h2>{title}</h2>" in page
    assert "coefficient[" not in page and "C(kind)[2]" in page and "trained" not in page


def test_a_new_level_has_effects_of_all_levels(schools):
    """300 draws of N(0, sd^2): a mean is off by 5 errors once in 10^6, an sd by 25%."""
    form, post = schools
    new = pd.DataFrame({"x": [50.0, 50.0, 50.0], "kind": 1, "school": ["z", "z", "w"]})
    with pytest.raises(ap.DataError, match=r"'z' of 'school'.*new_levels=True"):
        ap.predictions(form, post, new)
    table = ap.predictions(form, post, new, new_levels=True)
    spread = np.sqrt((SD**2).mean() + linear(new)[:, 0].var())
    assert np.abs(table["mean"] - linear(new)[0, 0]).max() < 5 * spread / np.sqrt(S)
    np.testing.assert_allclose(table["sd"], spread, rtol=0.25)
    draws = predict_rows(form, post, new, new_levels=True)
    together, apart = (np.corrcoef(draws[:, 0], draws[:, i])[0, 1] for i in (1, 2))
    assert together > 0.25 > apart


def test_two_outcomes_are_calibrated(tmp_path):
    form = ap.formula("passed ~ x + C(kind)", FRAME, "bernoulli")
    post = tree(form)
    add_effects(form, post)
    assert post["effects"].attrs["outcome"] == "probability that passed is yes"
    np.testing.assert_allclose(
        post["expected"]["passed"][:, 0], (1 / (1 + np.exp(-linear(FRAME)))).mean(0), rtol=1e-3
    )
    page = write_report(post, tmp_path / "report.html").read_text()
    assert "Calibration of the outcome" in page and "parts lie outside" in page
