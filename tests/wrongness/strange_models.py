"""Models that were once answered wrongly without a word."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam
from scipy import stats

import amortppl as ap
from conjugate import SMALL
from wrongness.registry import Seen, against, case, gaussian, on_grid, posterior

X = {"x": dist.Normal(0, 1)}


def line(rows=33, seed=0, slope=0.7):
    """x and y = slope x + noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    return x.astype(np.float32), (slope * x + rng.normal(size=rows)).astype(np.float32)


def slope_of(x, y, **noise):
    """Mean and sd of one slope under N(0, 1)."""
    mean, sd = gaussian(np.asarray(x, float)[:, None], np.asarray(y, float), **noise)
    return mean[0], sd[0]


def of_two(x, y):
    """Means and sds of w ~ N(0, 1) and s ~ HalfNormal(2) in y ~ N(w x, s^2), on a grid."""
    w, s = np.meshgrid(np.linspace(-3, 3, 401), np.linspace(0.02, 6, 401), indexing="ij")
    square = np.sum(y**2) - 2 * w * np.sum(x * y) + w**2 * np.sum(x**2)
    height = -(w**2) / 2 - s**2 / 8 - len(x) * np.log(s) - square / (2 * s**2)
    weight = np.exp(height - height.max())
    weight /= weight.sum()
    mean = {n: float(np.sum(weight * v)) for n, v in (("w", w), ("s", s))}
    return {
        n: (mean[n], float(np.sqrt(np.sum(weight * (v - mean[n]) ** 2))))
        for n, v in (("w", w), ("s", s))
    }


@case("obs_mask", "y")
def obs_mask():
    """Two rows in three are missing: a density of theirs would move the noise by many sds."""

    def model(x, seen, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        s = numpyro.sample("s", dist.HalfNormal(2))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, s), obs=y, obs_mask=seen > 0)

    task = ap.Task(model, X | {"seen": dist.Bernoulli(0.3)}, rows=(8, 512))
    x, y = line(450)
    seen = np.arange(450) % 3 == 0
    post = posterior(task, {"x": x, "seen": seen.astype(int), "y": np.where(seen, y, 50.0)})
    return against(post, of_two(x[seen].astype(float), y[seen].astype(float)))


@case("obs_mask of counts", "y")
def obs_mask_counts():
    def model(x, seen, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Poisson(jnp.exp(w * x)), obs=y, obs_mask=seen > 0)

    task = ap.Task(model, X | {"seen": dist.Bernoulli(0.7)}, rows=(8, 64))
    x, _ = line()
    seen, y = np.arange(33) % 3 > 0, np.random.default_rng(1).poisson(np.exp(0.7 * x))
    post = posterior(task, {"x": x, "seen": seen.astype(int), "y": np.where(seen, y, 40)})
    rate = x[seen, None] * np.linspace(-4, 4, 20001)
    truth = on_grid(lambda w: -(w**2) / 2 + np.sum(y[seen, None] * rate - np.exp(rate), 0), -4, 4)
    return against(post, {"w": truth})


@case("obs_mask of Pyro", "y")
def obs_mask_pyro():
    torch = pytest.importorskip("torch")
    import pyro.distributions as pdist

    import pyro

    def model(x, seen, y=None):
        w = pyro.sample("w", pdist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("y", pdist.Normal(w * x, torch.ones(())), obs=y, obs_mask=seen > 0)

    task = ap.Task(model, X | {"seen": dist.Bernoulli(0.7)}, rows=(8, 64))
    x, y = line()
    seen = np.arange(33) % 3 > 0
    post = posterior(task, {"x": x, "seen": seen.astype(int), "y": np.where(seen, y, 50.0)})
    return against(post, {"w": slope_of(x[seen], y[seen])})


@case("a covariate standardised in the model", "x", "rows")
def standardised():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * (x - x.mean()) / x.std(), 1), obs=y)

    task = ap.Task(model, X, rows=(8, 64))
    x, y = line()
    x[0] = 3.0
    return against(posterior(task, {"x": x, "y": y}), {"w": slope_of((x - x.mean()) / x.std(), y)})


def autoregression(n, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1))

    def step(before, now):
        now = numpyro.sample("y", dist.Normal(b * before, 1), obs=now)
        return now, now

    scan(step, 0.0, y, length=n)


@case("a series by scan, its length as rows", "rows")
def scanned():
    y = np.zeros(50, np.float32)
    for t in range(1, 50):
        y[t] = 0.9 * y[t - 1] + np.random.default_rng(t).normal()
    guide = ap.train(ap.Task(autoregression, rows=(20, 60)), "laplace", progress=False)
    post = guide.infer(ap.batches({"y": y}, size=10))
    return against(post, {"b": slope_of(np.append(0.0, y[:-1]), y)})


def trained(task, data):
    """By a small learned guide."""
    guide = ap.train(task, ap.method("parametric", **SMALL), steps=50, batch=16, progress=False)
    return guide.infer(data, predictive=False)


@case("handlers.scale around the rows", "scale")
def scaled():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]), handlers.scale(scale=0.01):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line()
    return against(
        trained(ap.Task(model, X, rows=(8, 64)), {"x": x, "y": y}),
        {"w": slope_of(x, y, noise=10.0)},
    )


@case("a plate that takes some of the rows", "plate")
def subsampled():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", 6400, subsample_size=64):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line(64)
    task = ap.Task(model, X, rows=64)
    return against(trained(task, {"x": x, "y": y}), {"w": slope_of(x, y, noise=0.1)})


@case("a latent only when simulating", "extra")
def latent_when_simulating():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        extra = numpyro.sample("extra", dist.Normal(0, 5)) if y is None else 0.0
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x + extra, 1), obs=y)

    x, y = line()
    return against(
        posterior(ap.Task(model, X, rows=(8, 64)), {"x": x, "y": y}), {"w": slope_of(x, y)}
    )


@case("a site only when simulating that adds nothing", "mu")
def site_when_simulating():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        if y is None:
            numpyro.sample("mu", dist.Delta(w * x), obs=w * x)
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line()
    return against(
        posterior(ap.Task(model, X, rows=(8, 64)), {"x": x, "y": y}), {"w": slope_of(x, y)}
    )


@case("a latent only when observed", "'s'")
def latent_when_observed():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        s = numpyro.sample("s", dist.HalfNormal(1.0)) if y is not None else 1.0
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, s), obs=y)

    x, y = line()
    return against(
        posterior(ap.Task(model, X, rows=(8, 64)), {"x": x, "y": y}), {"w": slope_of(x, y)}
    )


@case("a handler as a decorator")
def decorated():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line()
    seen = []
    for wrapped, name in (
        (handlers.reparam(config={"w": LocScaleReparam(0)})(model), "w_decentered"),
        (handlers.scope(prefix="a")(model), "a.w"),
        (handlers.seed(rng_seed=0)(handlers.block(hide=["nothing"])(model)), "w"),
    ):
        seen.append(
            against(
                posterior(ap.Task(wrapped, X, rows=(8, 64)), {"x": x, "y": y}),
                {name: slope_of(x, y)},
            )
        )
    return max(seen)


@case("a plate named like an argument")
def plate_named():
    torch = pytest.importorskip("torch")
    import pyro.distributions as pdist
    from pyro.infer import config_enumerate

    import pyro

    @config_enumerate
    def model(n, data=None):
        m = pyro.sample("m", pdist.Normal(0.0, 1.0))
        with pyro.plate("data", n):
            z = pyro.sample("z", pdist.Bernoulli(0.3))
            return pyro.sample("obs", pdist.Normal(m + 3 * z, torch.ones(())), obs=data)

    rng = np.random.default_rng(0)
    y = 0.4 + 3 * rng.binomial(1, 0.3, 40) + rng.normal(size=40)

    def joint(m):
        each = 0.7 * stats.norm.pdf(y[:, None], m) + 0.3 * stats.norm.pdf(y[:, None], m + 3)
        return -(m**2) / 2 + np.log(each).sum(0)

    return against(
        posterior(ap.Task(model, rows=(8, 64)), {"data": y}), {"m": on_grid(joint, -4, 4)}
    )


@case("a censoring indicator drawn apart from what it censors", "c")
def censored():
    def model(x, c, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.RightCensoredDistribution(dist.Normal(a + x, 1), c), obs=y)

    x, t = line(100, slope=1.0)
    c, y = (t + 1 > 0).astype(int), np.minimum(t + 1, 0.0)  # three quarters are censored
    task = ap.Task(
        model, X | {"c": lambda k, n: jr.bernoulli(k, 0.3, (n,)).astype(jnp.int32)}, (8, 128)
    )
    away = (y - x)[:, None]

    def joint(a):
        return -(a**2) / 2 + np.where(
            c[:, None] > 0, stats.norm.logsf(away - a), stats.norm.logpdf(away - a)
        ).sum(0)

    return against(trained(task, {"x": x, "c": c, "y": y}), {"a": on_grid(joint, -4, 4)})


@case("the p-value of fit of one block")
def fit_of_a_block():
    """Twenty blocks made by the model: the share of p-values below 0.2 is 4 of 20, more than 13 in
    10^-5 of runs.
    """

    def model(y=None):
        m = numpyro.sample("m", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(m, 1).expand([10]).to_event(1), obs=y)

    rng = np.random.default_rng(0)
    sets = [{"y": (rng.normal() + rng.normal(size=10)).astype(np.float32)} for _ in range(20)]
    guide = ap.train(ap.Task(model, rows=None), "laplace", progress=False)
    p = guide.infer(sets, predictive=False, log_likelihood=False).sample_stats["fit_p"].values
    return Seen(float(np.sum(p < 0.2) / 13))
