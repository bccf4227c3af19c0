"""Data that were once answered wrongly without a word."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd

import amortppl as ap
from amortppl.guide.guide import Guide
from spoiled import spoiled
from wrongness.registry import Seen, against, case, gaussian, marked, posterior

WIDE = {"x": dist.Normal(0, 1).expand([2])}


def plane(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ w, 1), obs=y)


def effects(g, y=None):
    a = numpyro.sample("a", dist.Normal(0, 1).expand([4]).to_event(1))
    with numpyro.plate("row", g.shape[0]):
        numpyro.sample("y", dist.Normal(a[g], 1), obs=y)


def counts(g, y=None):
    a = numpyro.sample("a", dist.Normal(0, 1).expand([4]).to_event(1))
    with numpyro.plate("row", g.shape[0]):
        numpyro.sample("y", dist.Poisson(jnp.exp(a[g])), obs=y)


GROUPS = {"g": dist.Categorical(probs=jnp.ones(4) / 4)}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 2))
Y = X @ [0.5, -1.0] + RNG.normal(size=20)


def accepted(task, data, **options):
    """Data that ought to be refused were answered: wrong, whatever the answer."""
    return Seen(np.inf, marked(posterior(task, data, **options)))


@case("masked arrays in data", "'y'", "masked", "row 1")
def masked_data():
    y = np.ma.masked_array(np.where(np.arange(20) == 1, -999.0, Y), mask=np.arange(20) == 1)
    return accepted(ap.Task(plane, WIDE), {"x": X, "y": y})


@case("masked arrays in a table of inputs", "'x'", "masked")
def masked_table():
    x = np.ma.masked_array(
        np.where(np.arange(20)[:, None] == 1, -999.0, X), mask=np.zeros((20, 2), bool)
    )
    x[1] = np.ma.masked
    return accepted(ap.Task(plane, {"x": x}), {"x": X, "y": Y})


@case("a count beyond 32 bits", "4294967297", "row 0")
def wrapped_count():
    return accepted(
        ap.Task(counts, GROUPS), {"g": np.zeros(3, int), "y": np.array([2**32 + 1, 1, 1])}
    )


@case("a group beyond 32 bits", "4294967299", "row 0")
def wrapped_group():
    return accepted(ap.Task(effects, GROUPS), {"g": np.array([2**32 + 3, 1, 1]), "y": np.ones(3)})


@case("a count of 3e9", "3000000000", "row 0")
def wrapped_to_negative():
    return accepted(
        ap.Task(counts, GROUPS), {"g": np.zeros(3, int), "y": np.array([3_000_000_000, 1, 1])}
    )


@case("1e39 in an observation", "1e+39", "row 3")
def infinite():
    return accepted(ap.Task(plane, WIDE), {"x": X, "y": np.where(np.arange(20) == 3, 1e39, Y)})


@case("1e39 in an input", "1e+39", "row 3")
def infinite_input():
    return accepted(
        ap.Task(plane, WIDE), {"x": np.where(np.arange(20)[:, None] == 3, 1e39, X), "y": Y}
    )


@case("1e39 in a table of inputs", "1e+39")
def infinite_table():
    return accepted(
        ap.Task(plane, {"x": np.where(np.arange(20)[:, None] == 3, 1e39, X)}), {"x": X, "y": Y}
    )


@case("group -1", "'g'", "-1", "row 2")
def negative_group():
    return accepted(ap.Task(effects, GROUPS), {"g": np.array([0, 3, -1, 1]), "y": np.ones(4)})


@case("a group beyond those known", "'g'", "7", "row 2")
def unknown_group():
    return accepted(ap.Task(effects, GROUPS), {"g": np.array([0, 3, 7, 1]), "y": np.ones(4)})


@case("a group beyond those known, inputs from a table", "'g'", "7", "row 2")
def unknown_group_of_table():
    return accepted(
        ap.Task(effects, {"g": np.arange(12) % 4}), {"g": np.array([0, 3, 7, 1]), "y": np.ones(4)}
    )


@case("Series of unlike index", "unlike indices")
def unlike_index():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, order = pd.Series(X[:, 0]), np.random.default_rng(1).permutation(20)
    y = pd.Series(3 * X[:, 0] + 0.1 * Y)[order]
    mean, sd = gaussian(x.to_numpy()[:, None], y.sort_index().to_numpy())
    post = posterior(ap.Task(model, {"x": dist.Normal(0, 1)}), {"x": x, "y": y})
    return against(post, {"w": (mean[0], sd[0])})


@case("a missing value in the second of two columns", "'x_1'", "row 1")
def missing_in_second():
    frame = pd.DataFrame(
        {"x_0": np.arange(3.0), "x_1": pd.array([1, None, 3], dtype="Int64"), "y": np.arange(3.0)}
    )
    return accepted(ap.Task(plane, WIDE), frame)


@case("two columns of one name", "2 columns", "'y'")
def twice():
    return accepted(
        ap.Task(plane, WIDE), pd.DataFrame(np.ones((3, 4)), columns=["x_0", "x_1", "y", "y"])
    )


@case("columns named by integers")
def integer_columns():
    frame = pd.DataFrame(np.column_stack([X, Y]))
    post = posterior(ap.Task(plane, WIDE), frame, columns={"x": [0, 1], "y": 2})
    return against(post, {"w": gaussian(X, Y)})


@case("complex numbers", "'y'", "complex")
def complex_numbers():
    return accepted(ap.Task(plane, WIDE), {"x": X, "y": Y + 0j})


def guide():
    return ap.train(ap.Task(plane, WIDE), "laplace", progress=False)


@case("draws three times too wide, k-hat far below 0")
def wide():
    return against(spoiled(guide(), spread=3.0).infer({"x": X, "y": Y}), {"w": gaussian(X, Y)})


@case("draws that are not finite")
def not_finite():
    sound = guide()
    method = eqx.tree_at(
        lambda m: m.scale, sound.method, jax.tree.map(lambda a: a * np.nan, sound.method.scale)
    )
    broken = Guide(method, sound.spec, sound.record, sound.seed, sound.ranges, sound.familiarity)
    return against(broken.infer({"x": X, "y": Y}), {"w": gaussian(X, Y)})


@case("minutes too short to compile", "minutes")
def no_time():
    trained = ap.train(
        ap.Task(plane, WIDE),
        ap.method("parametric", width=4, hidden=8),
        minutes=1e-4,
        progress=False,
    )
    return Seen(0.0 if trained.record.steps else np.inf)
