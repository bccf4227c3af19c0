"""Predictions, contrasts and slopes, against closed forms at given draws."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import amortppl as ap

RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame({"x": RANDOM.normal(50, 10, 40), "g": RANDOM.choice(list("ab"), 40)})
FRAME["y"] = RANDOM.normal(size=40)
FRAME["k"] = RANDOM.poisson(3, 40)
FRAME["level"] = RANDOM.choice(["u", "v", "w"], 40)
B = np.array([0.03, -0.5]) + 0.01 * RANDOM.normal(size=(30, 2))
LEVEL = 1.0 + 0.1 * RANDOM.normal(size=30)


def tree(**further):
    """A posterior of thirty draws."""
    draws = {"coefficient": B, "intercept_at_means": LEVEL, **further}
    axes = {
        n: ["chain", "draw", *(f"{n}_{i}" for i in range(v.ndim - 1))] for n, v in draws.items()
    }
    sets = {n: (axes[n], v[None]) for n, v in draws.items()}
    return xr.DataTree.from_dict({"/posterior": xr.Dataset(sets)})


def linear(frame):
    """The linear predictor, (S, N), in float64."""
    x = np.stack([FRAME.x, FRAME.g == "b"], 1).astype(float)
    new = np.stack([frame.x, frame.g == "b"], 1).astype(float)
    return LEVEL[:, None] + B @ (new - x.mean(0)).T


def test_a_line_has_its_coefficients_as_slopes():
    form, post = ap.formula("y ~ x + g", FRAME), tree(sigma=np.ones(30))
    slope, contrast = ap.slopes(form, post, "x"), ap.comparisons(form, post, "g")
    np.testing.assert_allclose(slope["mean"], B[:, 0].mean(), rtol=1e-2)
    np.testing.assert_allclose(contrast["mean"], B[:, 1].mean(), rtol=1e-4)
    assert contrast.index.tolist() == ["g: b - a"]
    np.testing.assert_allclose(contrast["sd"], B[:, 1].std(ddof=1), rtol=1e-3)
    between = ap.comparisons(form, post, "x", between=(40, 60))
    np.testing.assert_allclose(between["mean"], 20 * B[:, 0].mean(), rtol=1e-4)
    new = pd.DataFrame({"x": [30.0, 70.0], "g": "a"})
    expected = linear(new).mean(0)
    np.testing.assert_allclose(ap.predictions(form, post, new)["mean"], expected, rtol=1e-4)
    with pytest.raises(ap.DataError, match="ask for comparisons"):
        ap.slopes(form, post, "g")
    with pytest.raises(ap.DataError, match="did you mean 'x'"):
        ap.slopes(form, post, "xx")


def test_numbers_as_levels_interactions_and_ordered_categories():
    """Each against the draws' own predictor: log mean = a + b x + g (c + d x) + n e + size f."""
    frame = FRAME.assign(n=9 + np.arange(40) % 3, size=["s", "l"] * 20)
    frame["size"] = pd.Categorical(frame["size"], ["s", "l"], ordered=True)
    form = ap.formula("k ~ x * g + C(n) + size", frame, "poisson")
    draws = 0.02 * RANDOM.normal(size=(30, 6))
    post = tree(coefficient=draws)

    def columns(t):
        terms = [t.x, t.g == "b", t.x * (t.g == "b"), t.n == 10, t.n == 11, t["size"] == "l"]
        return np.stack(terms, 1).astype(float)

    def expected(t):
        return np.exp(LEVEL[:, None] + draws @ (columns(t) - columns(frame).mean(0)).T)

    for column, levels in {"n": [9, 10, 11], "size": ["s", "l"], "g": ["a", "b"]}.items():
        table = ap.comparisons(form, post, column)
        several = [expected(frame.assign(**{column: v})).mean(1) for v in levels]
        assert [*table.index] == [f"{column}: {v} - {levels[0]}" for v in levels[1:]]
        changes = np.stack([v - several[0] for v in several[1:]])
        np.testing.assert_allclose(table["mean"], changes.mean(1), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(table["sd"], changes.std(1, ddof=1), rtol=1e-2)
    own = draws[:, :1] + draws[:, 2:3] * (frame.g == "b").to_numpy()
    slope = (expected(frame) * own).mean()
    np.testing.assert_allclose(ap.slopes(form, post, "x")["mean"], slope, rtol=2e-2)
    with pytest.raises(ap.DataError, match="'n' holds levels"):
        ap.slopes(form, post, "n")


def test_levels_have_probabilities():
    form = ap.formula("level ~ x", FRAME, "ordinal")
    shares = RANDOM.dirichlet(np.ones(3), 30)
    table = ap.predictions(form, tree(coefficient=B[:, :1], level_share=shares))
    assert len(table) == 120
    np.testing.assert_allclose(table["mean"].groupby(level="row").sum(), 1.0, atol=1e-5)


@pytest.mark.parametrize("column", ["x", "g"])
def test_plots_show_the_predictions(column):
    matplotlib.use("Agg")
    form, post = ap.formula("y ~ x + g", FRAME), tree(sigma=np.ones(30))
    axes = ap.plot_effects(form, post, column)
    assert axes.get_xlabel() == column and axes.get_ylabel() == "expected y"
    line = axes.lines[0].get_ydata()
    assert len(line) == (60 if column == "x" else 2)
    matplotlib.pyplot.close("all")
