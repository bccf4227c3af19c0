"""Numbers of awkward size, and rows alike."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import amortppl as ap
from wrongness.columns import SLOPE, straight
from wrongness.registry import MEAN, SD, Seen, against, case, gaussian, marked, on_grid, posterior
from wrongness.strange_data import WIDE, X, Y, plane
from wrongness.strange_models import line, slope_of, trained


@case("collinear columns")
def collinear():
    x = np.column_stack([X[:, 0], X[:, 0]])
    return against(posterior(ap.Task(plane, WIDE), {"x": x, "y": Y}), {"w": gaussian(x, Y)})


@case("a constant column beside another")
def constant_columns():
    x = np.ones((20, 2))
    return against(posterior(ap.Task(plane, WIDE), {"x": x, "y": Y}), {"w": gaussian(x, Y)})


@case("duplicate rows")
def duplicates():
    x, y = np.repeat(X[:3], 7, 0), np.repeat(Y[:3], 7)
    return against(posterior(ap.Task(plane, WIDE), {"x": x, "y": y}), {"w": gaussian(x, y)})


@case("one row")
def one_row():
    post = posterior(ap.Task(plane, WIDE), {"x": X[:1], "y": Y[:1]})
    return against(post, {"w": gaussian(X[:1], Y[:1])})


@case("an outcome that never varies, its noise unknown")
def constant_outcome():
    """The density grows without bound as s goes to 0: there is no posterior."""

    def model(n, y=None):
        m = numpyro.sample("m", dist.Normal(0, 1))
        s = numpyro.sample("s", dist.HalfNormal(1))
        with numpyro.plate("row", n):
            numpyro.sample("y", dist.Normal(m, s), obs=y)

    post = posterior(ap.Task(model, rows=(8, 64)), {"y": np.full(20, 0.7)})
    return Seen(np.inf, marked(post))


@case("data forty sds from the prior")
def far_from_prior():
    x, y = line()
    return against(posterior(ap.Task(straight, SLOPE), {"x": x, "y": 40 * x + y}),
                   {"w": slope_of(x, 40 * x + y)})  # fmt: skip


@case("four rows close to a line, its noise unknown: tails of a hundred sds")
def heavy_tails():
    """Given the noise, y is normal: the noise's posterior by a grid of its logarithm."""

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 2.5).expand([2]).to_event(1))
        s = numpyro.sample("s", dist.LogNormal(0, 1.5))
        with numpyro.plate("row", len(x)):
            numpyro.sample("y", dist.Normal(w[0] + w[1] * x, s), obs=y)

    rng = np.random.default_rng(13)
    x = rng.normal(size=4)
    y = 1 + 2 * x + 0.1 * rng.normal(size=4)
    between = 6.25 * (1 + np.outer(x, x))

    def log_density(t):
        values, axes = np.linalg.eigh(between)
        spread = np.maximum(values, 0) + np.exp(2 * t)[:, None]
        return -(t**2) / 4.5 - np.sum(np.log(spread) + (axes.T @ y) ** 2 / spread, 1) / 2

    task = ap.Task(model, inputs={"x": dist.Normal(0, 1)}, rows=(4, 16))
    post = posterior(task, {"x": x, "y": y}, trust="ladder", rungs=("psis", "nuts"))
    post.posterior["s"] = np.log(post.posterior["s"])
    return against(post, {"s": on_grid(log_density, -12, 8)})


def offset(mean, sd, noise=1.0, rows=40):
    """Rows about mean + 3 sd."""
    y = mean + 3 * sd + noise * np.random.default_rng(0).normal(size=rows)
    precision = 1 / sd**2 + rows / noise**2

    def model(n, y=None):
        m = numpyro.sample("m", dist.Normal(mean, sd))
        with numpyro.plate("row", n):
            numpyro.sample("y", dist.Normal(m, noise), obs=y)

    post = posterior(ap.Task(model, rows=(8, 64)), {"y": y})
    draws = post.posterior["m"].values.ravel().astype(float) - mean
    centre = np.sum(y - mean) / noise**2 / precision
    sd_ratio = np.log(max(float(draws.std()), 1e-300) * precision**0.5)
    off = max(abs(draws.mean() - centre) * precision**0.5 / MEAN, abs(sd_ratio) / SD)
    return Seen(float(off), marked(post))


@case("an outcome with an offset of 1e8")
def huge_offset():
    return offset(1e8, 10.0)


@case("an outcome with an offset of 1e5")
def offset_of_hundred_thousand():
    return offset(1e5, 10.0)


@case("an outcome of the size 1e-8")
def tiny_scale():
    return offset(0.0, 1e-8, 1e-8)


@case("an outcome of the size 1e20")
def large_scale():
    return offset(0.0, 1e20, 1e20)


@case("years as a covariate")
def years():
    """Intercept and slope nearly cancel: sds 30 times as wide as after centring."""

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, jnp.array([100.0, 1.0])).to_event(1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w[0] + w[1] * x, 1), obs=y)

    x = np.arange(1990.0, 2023.0)
    y = 0.05 * (x - 2000) + line()[1]
    both = np.column_stack([np.full(33, 100.0), x])
    mean, sd = gaussian(both, y)
    post = posterior(ap.Task(model, {"x": dist.Uniform(1990, 2023)}), {"x": x, "y": y})
    return against(post, {"w": (mean * [100, 1], sd * [100, 1])})


@case("an income in its own units under exp")
def income():
    """exp(w x) overflows on most of the prior; the posterior is far inside."""

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Poisson(jnp.exp(w * x)), obs=y)

    x = np.linspace(1e4, 9e4, 33)
    y = np.random.default_rng(0).poisson(np.exp(2e-5 * x))
    post = posterior(ap.Task(model, {"x": dist.Uniform(1e4, 9e4)}), {"x": x, "y": y})
    truth = on_grid(lambda w: np.sum(y[:, None] * w * x[:, None] - np.exp(w * x[:, None]), 0),
                    0, 4e-5)  # fmt: skip
    return against(post, {"w": truth})


@case("units of a thousandth of those trained for")
def units():
    x, y = line()
    post = trained(ap.Task(straight, SLOPE, rows=(8, 64)), {"x": 1000 * x, "y": y})
    return against(post, {"w": slope_of(1000 * x, y)})
