"""Rows that count more, less or not at all."""

import warnings

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers

import amortppl as ap
from wrongness.columns import SLOPE
from wrongness.registry import against, case, on_grid, posterior
from wrongness.strange_models import line


def weighted(w):
    """Rows that count w times each."""
    x, y = line()
    precision = 1 + np.sum(w * x**2)
    return x, y, {"w": (np.sum(w * x * y) / precision, precision**-0.5)}


@case("weights of the rows by handlers.scale", "scale")
def weights():
    def model(x, c, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]), handlers.scale(scale=c):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    c = np.where(np.arange(33) % 2, 10.0, 0.01)
    x, y, truth = weighted(c)
    task = ap.Task(model, SLOPE | {"c": dist.Gamma(2, 1)}, rows=(8, 64))
    return against(posterior(task, {"x": x, "c": c, "y": y}), truth)


@case("handlers.mask over rows", "mask")
def masked_rows():
    def model(x, seen, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]), handlers.mask(mask=seen > 0):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    seen = np.arange(33) % 3 > 0
    x, y, truth = weighted(1.0 * seen)
    task = ap.Task(model, SLOPE | {"seen": dist.Bernoulli(0.7)}, rows=(8, 64))
    data = {"x": x, "seen": seen.astype(int), "y": np.where(seen, y, -500.0)}
    return against(posterior(task, data), truth)


@case("a distribution's own mask", "mask")
def masked_distribution():
    def model(x, seen, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1).mask(seen > 0), obs=y)

    seen = np.arange(33) % 3 > 0
    x, y, truth = weighted(1.0 * seen)
    task = ap.Task(model, SLOPE | {"seen": dist.Bernoulli(0.7)}, rows=(8, 64))
    data = {"x": x, "seen": seen.astype(int), "y": np.where(seen, y, -500.0)}
    return against(posterior(task, data), truth)


@case("an exposure of 0 with events", "'y'", "row 4")
def exposure_of_zero():
    """No rate gives events without exposure: there is no posterior."""

    def model(e, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1))
        with numpyro.plate("row", e.shape[0]):
            numpyro.sample("y", dist.Poisson(e * jnp.exp(a)), obs=y)

    e = np.where(np.arange(33) == 4, 0.0, 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        post = posterior(ap.Task(model, {"e": dist.Gamma(2, 1)}), {"e": e, "y": np.full(33, 3)})
    return against(post, {"a": (np.inf, 1.0)})


@case("exposures over six orders of magnitude")
def exposures():
    def model(e, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1))
        with numpyro.plate("row", e.shape[0]):
            numpyro.sample("y", dist.Poisson(e * jnp.exp(a)), obs=y)

    e = np.geomspace(1e-3, 1e3, 12)
    y = np.random.default_rng(0).poisson(2 * e)
    task = ap.Task(model, {"e": dist.LogNormal(0, 3)})
    truth = on_grid(lambda a: -(a**2) / 2 + y.sum() * a - e.sum() * np.exp(a), -1, 2)
    return against(posterior(task, {"e": e, "y": y}), {"a": truth})
