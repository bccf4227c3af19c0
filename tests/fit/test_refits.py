"""Refits in one call, against quadrature and least squares of each part."""

import numpy as np
import pandas as pd
import pytest

import amortppl as ap
from amortppl.fit.refits import Refits, join_tables
from regression_quadrature import regression_posterior


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(8)
    frame = pd.DataFrame({"x": random.normal(20, 5, 90), "region": list("abc") * 30})
    frame["y"] = 3 + (0.2 + 0.1 * (frame.region == "b")) * frame.x + random.normal(size=90)
    return frame


def test_a_posterior_for_each_level(table):
    """Quadrature in float64 with the priors of the whole table. A mean of 1000 draws is off by
    more than 0.16 sd once in 10^6 programs, a sd by more than 12%.
    """
    form = ap.formula("y ~ x", table)
    post = ap.fit(form, by="region")
    assert post["posterior"]["task"].values.tolist() == ["a", "b", "c"]
    mean, sd = np.array([form.priors.intercept.arguments, form.priors.coefficients[0].arguments]).T
    rate = form.priors.parameters["sigma"].arguments[0]
    for level, rows in table.groupby("region"):
        x = np.stack([np.ones(30), rows.x - table.x.mean()], 1)
        exact, covariance = regression_posterior(x, rows.y.to_numpy(), mean, sd, rate)
        draws = np.asarray(post["posterior"]["coefficient"].sel(task=level))[0, :, 0]
        assert abs(draws.mean() - exact[1]) < 0.16 * covariance[1, 1] ** 0.5
        assert abs(draws.std() / covariance[1, 1] ** 0.5 - 1) < 0.12
    assert post["sample_stats"]["reliable"].all()
    one = ap.slopes(form, post.isel(task=1), "x")["mean"].iloc[0]
    assert abs(one - float(post["posterior"]["coefficient"][1].mean())) < 1e-3
    with pytest.raises(ap.DataError, match=r"isel\(task=0\)"):
        ap.slopes(form, post, "x")


def test_tables_of_a_list_are_those_of_a_column(table):
    frame, number = join_tables([rows for _, rows in table.groupby("region")])
    ours = Refits.by_levels(ap.formula("y ~ x", frame), number)
    theirs = Refits.by_levels(ap.formula("y ~ x", table), "region")
    assert ours.labels == [0, 1, 2] and theirs.labels == ["a", "b", "c"]
    for one, other in zip(ours.data, theirs.data, strict=True):
        for name in ("x", "y"):
            np.testing.assert_allclose(one[name], other[name], atol=1e-12)
    with pytest.raises(ap.DataError, match=r"table 1: .*no rows"):
        join_tables([table, table.iloc[:0]])


@pytest.mark.slow
def test_bootstrap_samples_have_least_squares_as_means(table):
    """Sixteen samples; weak priors move a slope by less than 0.02 sd, 400 draws by 0.05 a sd."""
    form = ap.formula("y ~ x", table)
    post = ap.fit(form, bootstrap=16, draws=400, predictive=False)
    y, x = post["observed_data"]["y"].values, post["constant_data"]["x"].values[..., 0]
    assert not np.array_equal(y[0], y[1]) and set(y[0]) <= set(table.y.astype(np.float32))
    slopes = np.array([np.polyfit(a, b, 1)[0] for a, b in zip(x, y, strict=True)]) / table.x.std(
        ddof=0
    )
    draws = post["posterior"]["coefficient"][:, 0, :, 0]
    z = (draws.mean("draw").values - slopes) / draws.std("draw").values
    assert np.abs(z).max() < 0.28


@pytest.mark.parametrize(
    ("given", "saying"),
    [
        ({"by": "regoin"}, "did you mean 'region'"),
        ({"bootstrap": 0}, "whole number above 0"),
        ({"bootstrap": 3, "by": "region"}, "one of `by` and `bootstrap`"),
    ],
)
def test_mistakes_are_named(table, given, saying):
    with pytest.raises(ap.DataError, match=saying):
        ap.fit("y ~ x", table, **given)
    with pytest.raises(ap.DataError, match="is for a formula"):
        ap.fit(lambda n, y=None: None, {"y": [1.0]}, by="region")
    with pytest.raises(ap.DataError, match="missing in 1"):
        ap.fit("y ~ x", table.assign(region=table.region.where(table.index > 0)), by="region")
