"""Censored times and imputed cells end to end, against quadrature in float64 over all parameters."""

import numpy as np
import numpyro.handlers as handlers
import pandas as pd
import pytest
from scipy import stats

import amortppl as ap

POINTS = 81


def grid_moments(log_density, centres, widths):
    """Means and sds of parameters on a regular grid of five widths about their centres.

    Args:
        log_density: of arrays that broadcast, one for each parameter.
    """
    axes = [c + w * np.linspace(-5, 5, POINTS) for c, w in zip(centres, widths, strict=True)]
    heights = log_density(*np.meshgrid(*axes, indexing="ij", sparse=True))
    weights = np.exp(heights - heights.max())
    weights /= weights.sum()
    moments = []
    for place, axis in enumerate(axes):
        own = weights.sum(tuple(i for i in range(len(axes)) if i != place))
        mean = own @ axis
        moments.append((mean, np.sqrt(own @ (axis - mean) ** 2)))
        assert own[0] + own[-1] < 1e-4, "the grid cuts the posterior off"
    return np.array(moments)


def expect_moments(post, names, exact):
    """1000 draws, a third of them worth: a mean is off by more than 0.2 sd, or an sd by more than
    15%, once in 10^4 programs.
    """
    for name, (mean, sd) in zip(names, exact, strict=True):
        draws = np.asarray(post["posterior"][name], np.float64).ravel()
        assert abs(draws.mean() - mean) < 0.2 * sd, name
        assert abs(draws.std() / sd - 1) < 0.15, name
    assert bool(post["sample_stats"]["reliable"])


@pytest.fixture(scope="module")
def times():
    """Eighty times, a third of them known only to be beyond a limit."""
    random = np.random.default_rng(6)
    age = random.normal(60, 8, 80)
    time = np.exp(2.0 - 0.03 * (age - 60)) * random.weibull(1.6, 80)
    limit = random.uniform(2, 14, 80)
    return pd.DataFrame({"age": age, "time": np.minimum(time, limit), "event": time < limit})


def log_weibull(table, level, slope, shape):
    """Log likelihood, summed over rows: density of events, survival of the others."""
    total = 0.0
    for age, time, event in zip(table.age - table.age.mean(), table.time, table.event, strict=True):
        risk = (time / np.exp(level + slope * age)) ** shape
        total = total - risk
        if event:
            total = total + np.log(shape / time) + np.log(risk)
    return total


@pytest.mark.slow
def test_censored_weibull_times(times):
    form = ap.formula("censored(time, event) ~ age", times, "weibull")
    post = ap.fit(form)
    first, second = form.priors.intercept, form.priors.coefficients[0]
    half_cauchy = form.priors.parameters["shape"].arguments[0]

    def log_density(level, slope, log_shape):
        shape = np.exp(log_shape)
        prior = stats.norm(*first.arguments).logpdf(level) + log_shape
        prior = prior + stats.norm(*second.arguments).logpdf(slope)
        prior = prior + stats.halfcauchy(scale=half_cauchy).logpdf(shape)
        return prior + log_weibull(times, level, slope, shape)

    draws = post["posterior"].dataset
    names = ["intercept_at_means", "coefficient"]
    started = [*(draws[n] for n in names), np.log(draws["shape"])]
    exact = grid_moments(
        log_density, [float(d.mean()) for d in started], [float(d.std()) for d in started]
    )
    expect_moments(post, names, exact[:2])
    logs = np.log(np.asarray(draws["shape"], float)).ravel()
    assert abs(logs.mean() - exact[2, 0]) < 0.2 * exact[2, 1]


def test_censored_exponential_times_have_their_density(times):
    """Weibull of shape 1; 32 bits leave 1e-5 of a sum of eighty."""
    form = ap.formula("censored(time, event) ~ age", times, "exponential")
    fixed = {"intercept_at_means": 1.7, "coefficient": np.array([-0.02])}
    seeded = handlers.substitute(handlers.seed(form.model, 0), data=fixed)
    site = handlers.trace(seeded).get_trace(**form.data)["time"]
    ours = float(site["fn"].log_prob(site["value"]).sum())
    np.testing.assert_allclose(ours, log_weibull(times, 1.7, -0.02, 1.0), rtol=1e-5)


@pytest.mark.slow
def test_imputed_cells():
    """A missing cell is integrated in closed form: y ~ N(a + b m, s^2 + b^2 S^2), x ~ N(m, S)."""
    random = np.random.default_rng(7)
    x = random.normal(5, 2, 40)
    table = pd.DataFrame({"x": x, "y": 1 + 0.8 * x + random.normal(size=40)})
    table.loc[::5, "x"] = np.nan
    form = ap.formula("y ~ x", table, missing="impute")
    post = ap.fit(form)
    first, second = form.priors.intercept, form.priors.coefficients[0]
    (cells,) = form.parts.imputed
    observed = table.x.notna().to_numpy()
    centred = np.where(observed, table.x - table.x.mean(), cells.mean - table.x.mean())
    rate = form.priors.parameters["sigma"].arguments[0]

    def log_density(level, slope, log_sigma):
        sigma = np.exp(log_sigma)
        total = stats.norm(*first.arguments).logpdf(level) - rate * sigma + log_sigma
        total = total + stats.norm(*second.arguments).logpdf(slope)
        for at, y, there in zip(centred, table.y, observed, strict=True):
            sd = np.sqrt(sigma**2 + (0.0 if there else (slope * cells.sd) ** 2))
            total = total + stats.norm.logpdf(y, level + slope * at, sd)
        return total

    draws, names = post["posterior"].dataset, ["intercept_at_means", "coefficient"]
    started = [*(draws[n] for n in names), np.log(draws["sigma"])]
    centres, widths = ([float(f(d)) for d in started] for f in (np.mean, np.std))
    expect_moments(post, names, grid_moments(log_density, centres, widths)[:2])
    assert draws["x_missing_value"].shape == (1, 1000, 8)
