"""Columns as people have them: types, units, labels, missing values, order."""

from datetime import datetime, timedelta

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd

import amortppl as ap
from wrongness.registry import against, case, gaussian, posterior
from wrongness.strange_data import WIDE, X, Y, accepted, plane
from wrongness.strange_models import line, slope_of

SLOPE = {"x": dist.Normal(0, 1)}


def straight(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(w * x, 1), obs=y)


def success(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=w * x), obs=y)


def share(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        mean = jax.nn.sigmoid(w * x)
        numpyro.sample("y", dist.Beta(5 * mean, 5 * (1 - mean)), obs=y)


def trials(n, y=None):
    p = numpyro.sample("p", dist.Beta(1, 1))
    with numpyro.plate("row", n.shape[0]):
        numpyro.sample("y", dist.Binomial(n, p), obs=y)


def choice(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Categorical(logits=x[:, None] * w), obs=y)


def parts(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        level = jnp.exp(jnp.stack([w * x, 0 * x, 0 * x], -1))
        numpyro.sample("y", dist.Dirichlet(level), obs=y)


SMALL, OUT = line()
LINE = slope_of(SMALL, OUT)


def of_line(x, y, **options):
    """The slope that a model of one covariate gives these data, against that of clean ones."""
    return against(posterior(ap.Task(straight, SLOPE), {"x": x, "y": y}, **options), {"w": LINE})


def wrong_line(model=straight, **data):
    """Data that have no right answer."""
    return accepted(ap.Task(model, SLOPE), {"x": SMALL, "y": OUT} | data)


DAYS = np.array([datetime(2024, 1, 1) + timedelta(i) for i in range(33)], "datetime64[ns]")


def put(place, value, into=OUT):
    """A copy with one value replaced."""
    cells = np.array(into, object)
    cells[place] = value
    return cells


@case("dates as a covariate", "'x'", "dates")
def dates():
    return wrong_line(x=DAYS)


@case("durations as a covariate", "'x'", "durations")
def durations():
    return wrong_line(x=DAYS - DAYS[0])


@case("dates as Python objects", "'x'", "datetime")
def dates_as_objects():
    return wrong_line(x=DAYS.astype("datetime64[s]").astype(object))


@case("numbers as text")
def numbers_as_text():
    return of_line(SMALL.astype(str), list(map(str, OUT)))


@case("a decimal comma", "'y'", "'0,25'", "row 4", "point")
def decimal_comma():
    return wrong_line(y=put(4, "0,25", OUT.astype(str)))


@case("numbers with an underscore", "'y'", "'1_000'", "row 4")
def underscore():
    return wrong_line(y=put(4, "1_000", OUT.astype(str)))


@case("words as a covariate", "'x'", "'yes'", "row 0", "categories")
def words():
    return wrong_line(x=np.where(SMALL > 0, "yes", "no").astype(object))


@case("'True' as text", "'x'", "categories")
def true_as_text():
    return wrong_line(x=np.where(SMALL > 0, "True", "False"))


@case("a placeholder of missing values among numbers", "'y'", "'.'", "row 4")
def placeholder():
    return wrong_line(y=put(4, ".", OUT.astype(str)))


@case("None among the observations", "'y'", "row 4", "missing")
def none_among():
    return wrong_line(y=put(4, None))


@case("NaN in the outcome", "'y'", "row 4", "missing")
def missing_outcome():
    return wrong_line(y=np.where(np.arange(33) == 4, np.nan, OUT))


@case("NaN in a covariate", "'x'", "row 4", "missing")
def missing_covariate():
    return wrong_line(x=np.where(np.arange(33) == 4, np.nan, SMALL))


@case("NaN in one dataset of three", "'y'", "row 4", "missing")
def missing_in_one_of_three():
    bad = {"x": SMALL, "y": np.where(np.arange(33) == 4, np.nan, OUT)}
    return accepted(ap.Task(straight, SLOPE), [{"x": SMALL, "y": OUT}, bad, bad])


@case("half precision that overflows", "'y'", "row 4")
def half_precision():
    with np.errstate(over="ignore"):
        return wrong_line(y=np.where(np.arange(33) == 4, 70000, OUT).astype(np.float16))


@case("unsigned bytes from which a model subtracts")
def unsigned_bytes():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * (x - 200) / 50, 1), obs=y)

    task = ap.Task(model, {"x": lambda key, n: jax.random.randint(key, (n,), 0, 256)})
    x = np.linspace(0, 255, 33).astype(np.uint8)
    centred = (x.astype(float) - 200) / 50
    y = 0.7 * centred + OUT
    return against(posterior(task, {"x": x, "y": y}), {"w": slope_of(centred, y)})


@case("an outcome of shape (N, 1)")
def column_vector():
    return of_line(SMALL, OUT[:, None])


@case("covariates transposed", "'x'", "transposed")
def transposed():
    return accepted(ap.Task(plane, WIDE), {"x": X.T, "y": Y})


@case("columns in another order than their numbers")
def shuffled_columns():
    x = np.random.default_rng(5).normal(size=(40, 12))

    def wide(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1).expand([12]).to_event(1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(x @ w, 1), obs=y)

    task = ap.Task(wide, {"x": dist.Normal(0, 1).expand([12])})
    y = x @ np.arange(12) / 4
    names = sorted(f"x_{i}" for i in range(12))  # x_0, x_1, x_10, x_11, x_2, ...
    frame = pd.DataFrame({n: x[:, int(n[2:])] for n in names} | {"y": y})
    return against(posterior(task, frame), {"w": gaussian(x, y)})


@case("a column misnamed", "'x'", "'x1'")
def misnamed_column():
    return accepted(ap.Task(plane, WIDE), pd.DataFrame({"x1": Y, "x2": Y, "y": Y}))


@case("one row more in a covariate", "'x'", "33", "34")
def one_row_more():
    return wrong_line(x=np.append(SMALL, 0.0))
