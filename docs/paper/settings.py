"""The tasks of docs/paper.md: what is trained on, what is tested on, and what is exact there."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from amortppl.models import causal_order_steps, flow_letters, flow_mixture, image_features
from amortppl.models.known_noise_regression import NOISE
from jax.scipy.stats import norm

import amortppl as ap
from paper.process import NOISE as NOISE_OF_PROCESS
from paper.process import exact_process, exact_weights, kernel, weights_of_process


class Setting(NamedTuple):
    """A task.

    Attributes:
        task: what methods are trained on.
        tests: by name, (key, rows) -> arrays, of which the last rows are queries.
        exact: (rows, mask, queries) -> log density of each query under the exact predictive.
        batch: B, rows of a mini-batch.
        depths: the numbers K of mini-batches at which a state is judged.
    """

    task: ap.Task
    tests: dict[str, Callable]
    exact: Callable | None = None
    batch: int = 16
    depths: tuple[int, ...] = (1, 2, 5, 10, 20)


def lines(covariates: int) -> Setting:
    """Linear regression with known noise; shifted: inputs of mean 1 and sd 1.5."""
    most = 320 if covariates < 50 else 50
    batch = 16 if covariates < 50 else 10
    task = ap.model(
        "known_noise_regression",
        inputs={"x": dist.Normal(0, 1).expand([covariates])},
        rows=(batch, most),
    )

    def shifted(key, rows):
        keys = jr.split(key, 3)
        x = 1.0 + 1.5 * jr.normal(keys[0], (rows, covariates))
        y = x @ jr.normal(keys[1], (covariates,)) + NOISE * jr.normal(keys[2], (rows,))
        return {"x": x, "y": y}

    depths = (1, 2, 5, 10, 20) if covariates < 50 else (1, 2, 5)
    return Setting(task, {"like": _own(task), "shifted": shifted}, exact_line, batch, depths)


def exact_line(rows, mask, query):
    """Log predictive density of the conjugate posterior."""
    x = rows["x"] * mask[:, None]
    precision = jnp.eye(x.shape[1]) + x.T @ x / NOISE**2
    mean = jnp.linalg.solve(precision, x.T @ rows["y"]) / NOISE**2
    spread = jnp.sum(query["x"] * jnp.linalg.solve(precision, query["x"].T).T, -1)
    return norm.logpdf(query["y"], query["x"] @ mean, jnp.sqrt(NOISE**2 + spread))


def gaussian_process(weights: bool = False) -> Setting:
    """The known kernel, or its weights; shifted: length scale 0.25, not 0.4, unknown to all."""
    own = ap.model("gp_regression", rows=(4, 80))
    inputs = {"x": dist.Uniform(-2, 2)}
    task = ap.Task(weights_of_process, inputs, rows=(4, 80)) if weights else own

    def shifted(key, rows):
        keys = jr.split(key)
        x = jr.uniform(keys[0], (rows,), minval=-2.0, maxval=2.0)
        factor = jnp.linalg.cholesky(kernel(x, x, 0.25) + NOISE_OF_PROCESS**2 * jnp.eye(rows))
        return {"x": x, "y": factor @ jr.normal(keys[1], (rows,))}

    exact = exact_weights if weights else exact_process
    return Setting(task, {"like": _own(own), "shifted": shifted}, exact, 4)


def classes() -> Setting:
    """Linear classification of images: simulated labels, and three kinds of true ones."""
    task = ap.model("linear_classification", inputs={"x": image_features.resampled})
    true = {
        "digits": image_features.episodes,
        "other_digits": image_features.other_digits,
        "fashion": image_features.fashion,
    }
    return Setting(task, {"like": _own(task), **true})


def flow() -> Setting:
    """Flow matching trained on mixtures, tested on mixtures and on letters."""
    task = ap.model("flow_mixture")
    return Setting(task, {"like": flow_mixture.episodes, "letters": flow_letters.held_out}, None, 8)


def letters() -> Setting:
    """Flow matching trained on letters a to t, tested on these and on u to z."""
    task = ap.model("flow_letters")
    return Setting(
        task, {"like": flow_letters.episodes, "held_out": flow_letters.held_out}, None, 8
    )


def mixture() -> Setting:
    """The posterior of a mixture given points, tested on mixtures and on letters.

    `mixture_2d` itself is trained on data alone; here methods may see its density.
    """
    task = ap.model("mixture_2d", rows=(8, 160), likelihood=True)

    def letters(key, rows):
        return {"y": flow_letters.points(key, rows, flow_letters.HELD_OUT)}

    return Setting(task, {"like": _own(task), "letters": letters}, None, 8)


def order() -> Setting:
    """Causal order one node after another; 5, 10, .. 100 rows of the table."""
    task = ap.model("causal_order_steps")

    def test(key, rows):  # questions are asked beyond the first 100 rows
        return causal_order_steps.episodes(key, rows)

    return Setting(task, {"like": test}, None, 5)


def _own(task):
    return lambda key, rows: task.simulate(key, rows).data


MAKERS = {
    "line5": lambda: lines(5),
    "line100": lambda: lines(100),
    "process": gaussian_process,
    "weights": lambda: gaussian_process(weights=True),
    "classes": classes,
    "flow": flow,
    "letters": letters,
    "mixture": mixture,
    "order": order,
}


@cache
def setting(name: str) -> Setting:
    """A task by name."""
    return MAKERS[name]()


def drawn(name: str, test: str, seed: int, tasks: int, rows: int) -> dict[str, jax.Array]:
    """Test tasks, arrays (T, rows, ...)."""
    keys = jr.split(jr.key(10_000 + seed), tasks)
    one = setting(name).tests[test]
    return jax.jit(jax.vmap(lambda key: one(key, rows)))(keys)
