"""What a model computes of all rows, or of what it remembers, instead of one row at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import amortppl as ap
from wrongness.columns import SLOPE
from wrongness.registry import against, case, posterior
from wrongness.strange_models import line, slope_of

COUPLED: dict[str, Callable] = {
    "centred": lambda x, at: x - at.mean(x),
    "divided by the largest": lambda x, at: x / at.max(at.abs(x)),
    "summed up to the row": lambda x, at: at.cumsum(x),
    "sorted": lambda x, at: at.sort(x),
    "of the row before": lambda x, at: at.concatenate([at.zeros(1), x[:-1]]),
    "less the first row": lambda x, at: x - x[0],
    "as differences": lambda x, at: at.concatenate([at.zeros(1), x[1:] - x[:-1]]),
    "as ranks": lambda x, at: at.argsort(at.argsort(x)) / 10.0,
    "less the median": lambda x, at: x - at.median(x),
    "by its share": lambda x, at: 10 * at.exp(x) / at.sum(at.exp(x)),
    "turned round": lambda x, at: x[::-1],
    "clipped at its quantile": lambda x, at: at.minimum(x, at.quantile(x, 0.9)),
    "interpolated from its ends": lambda x, at: at.linspace(x[0], x[-1], x.shape[0]),
}


def model_of(change):
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * change(x, jnp), 1), obs=y)

    return model


def coupled(change):
    """Rows that look at one another: 33 of them, in one dataset, padded to 64."""
    x, noise = line(slope=0.0)
    x = np.where(np.arange(33) == 5, 4.0, x + 1)  # an outlier, and not centred
    of_all = change(x, np)
    y = 1.5 * of_all + noise
    task = ap.Task(model_of(change), SLOPE, rows=(8, 64))
    return against(posterior(task, {"x": x, "y": y}), {"w": slope_of(of_all, y)})


for name, change in COUPLED.items():
    case(f"a covariate {name} in the model", "x", "rows")(lambda change=change: coupled(change))


@case("a covariate centred beyond what simulations show")
def centred_when_large():
    """Simulated covariates are never above 50; the data's are."""

    def change(x, at):
        return x - at.where(at.max(x) > 50, at.mean(x), 0.0)

    x, noise = line(slope=0.0)
    x = x + 60
    of_all = change(x, np)
    y = 1.5 * of_all + noise
    task = ap.Task(model_of(change), SLOPE, rows=(8, 64))
    return against(posterior(task, {"x": x, "y": y}), {"w": slope_of(of_all, y)})


@case("the same in a stream of mini-batches")
def centred_in_a_stream():
    def change(x, at):
        return x - at.where(at.max(x) > 50, at.mean(x), 0.0)

    rng = np.random.default_rng(0)
    x = 60 + np.sort(rng.normal(size=400)) * 5
    of_all = change(x, np)
    y = 0.5 * of_all + rng.normal(size=400)
    guide = ap.train(ap.Task(model_of(change), SLOPE), "laplace", progress=False)
    post = guide.infer(ap.batches({"x": x, "y": y}, size=50, shuffle=None))
    return against(post, {"w": slope_of(of_all, y)})


@case("unlike values counted in the model", "control flow", "'x'")
def unique():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * jnp.unique(x).shape[0], 1), obs=y)

    x, y = line()
    return against(
        posterior(ap.Task(model, SLOPE), {"x": x, "y": y}), {"w": slope_of(33 + 0 * x, y)}
    )


@case("one-hot with the largest label in the data", "control flow", "input")
def one_hot_of_largest():
    def model(g, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1).expand([4]).to_event(1))
        with numpyro.plate("row", g.shape[0]):
            numpyro.sample("y", dist.Normal(jax.nn.one_hot(g, int(g.max()) + 1) @ a, 1), obs=y)

    task = ap.Task(model, {"g": dist.Categorical(probs=jnp.ones(4) / 4)})
    return against(posterior(task, {"g": np.arange(4), "y": np.ones(4)}), {"a": (np.ones(4), 1.0)})


@case("the number of rows in the prior", "'w'", "number of rows")
def rows_in_prior():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 5 / x.shape[0]))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line()
    precision = (33 / 5) ** 2 + x @ x
    post = posterior(ap.Task(model, SLOPE, rows=(8, 64)), {"x": x, "y": y})
    return against(post, {"w": (x @ y / precision, precision**-0.5)})


@case("the covariates in the prior (g-prior)", "'w'", "prior", "inputs")
def covariates_in_prior():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1 / jnp.sqrt(jnp.sum(x**2))))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line(slope=2.0)
    precision = 2 * (x @ x)
    post = posterior(ap.Task(model, SLOPE, rows=(8, 64)), {"x": x, "y": y})
    return against(post, {"w": (x @ y / precision, precision**-0.5)})


@case("the outcome's own sd as its noise", "'y'")
def empirical_noise():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        noise = 1.0 if y is None else jnp.std(y)
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, noise), obs=y)

    x, y = line()
    y = 10 * y
    post = posterior(ap.Task(model, SLOPE, rows=(8, 64)), {"x": x, "y": y})
    return against(post, {"w": slope_of(x, y, noise=y.std())})


@case("the outcome of the row before as a covariate", "'y'")
def lagged_outcome():
    def model(n, y=None):
        b = numpyro.sample("b", dist.Normal(0, 1))
        before = jnp.zeros(n) if y is None else jnp.concatenate([jnp.zeros(1), y[:-1]])
        with numpyro.plate("row", n):
            numpyro.sample("y", dist.Normal(b * before, 1), obs=y)

    y = np.cumsum(np.random.default_rng(0).normal(size=33))
    post = posterior(ap.Task(model, rows=(8, 64)), {"y": y})
    return against(post, {"b": slope_of(np.append(0.0, y[:-1]), y)})


@case("a penalty only when the outcome is given", "penalty")
def factor_when_observed():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        if y is not None:
            numpyro.factor("penalty", -50 * w**2)
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line()
    precision = 101 + x @ x
    post = posterior(ap.Task(model, SLOPE, rows=(8, 64)), {"x": x, "y": y})
    return against(post, {"w": (x @ y / precision, precision**-0.5)})


@case("a factor in a simulation too", "penalty")
def factor():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        numpyro.factor("penalty", -50 * w**2)
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line()
    precision = 101 + x @ x
    post = posterior(ap.Task(model, SLOPE, rows=(8, 64)), {"x": x, "y": y})
    return against(post, {"w": (x @ y / precision, precision**-0.5)})


@case("the likelihood written as a factor of the rows", "'y'", "obs=")
def likelihood_as_factor():
    """`y` feeds no site: what is observed cannot be simulated."""

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            seen = jnp.zeros(x.shape[0]) if y is None else y
            numpyro.factor("rows", dist.Normal(w * x, 1).log_prob(seen))

    x, y = line()
    post = posterior(ap.Task(model, SLOPE, rows=(8, 64)), {"x": x, "y": y})
    return against(post, {"w": slope_of(x, y)})


@case("an improper prior", "'w'", "ImproperUniform")
def improper():
    def model(x, y=None):
        w = numpyro.sample("w", dist.ImproperUniform(dist.constraints.real, (), ()))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line()
    post = posterior(ap.Task(model, SLOPE, rows=(8, 64)), {"x": x, "y": y})
    return against(post, {"w": slope_of(x, y, prior=1e6)})


@case("a plate of another size than the data", "33", "50")
def plate_of_other_size():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", 50):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line()
    return against(
        posterior(ap.Task(model, SLOPE, rows=33), {"x": x, "y": y}), {"w": slope_of(x, y)}
    )


@case("a plate of one over all rows")
def plate_of_one():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", 1):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line()
    task = ap.Task(model, SLOPE, rows=(8, 64))
    return against(posterior(task, {"x": x, "y": y}), {"w": slope_of(x, y)})


@case("numpy's random numbers inside the model", "'w'", "log density")
def hidden_random():
    rng = np.random.default_rng(0)

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(rng.normal() * 5, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    x, y = line()
    task = ap.Task(model, SLOPE, rows=(8, 64))
    return against(posterior(task, {"x": x, "y": y}), {"w": slope_of(x, y)})


@case("data of 33 rows closed over by the model", "33", "7 rows")
def closure():
    x, y = line()

    def model(z, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", z.shape[0]):
            numpyro.sample("y", dist.Normal(w * x + z, 1), obs=y)

    task = ap.Task(model, {"z": dist.Normal(0, 1)}, rows=(8, 64))
    return against(posterior(task, {"z": 0 * x, "y": y}), {"w": slope_of(x, y)})
