"""What a trained method says of queries after K mini-batches: log predictive densities."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from amortppl.models.known_noise_regression import NOISE
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from amortppl.method import Method, begin
from amortppl.runtime.compilation import LIGHT, Compiled
from amortppl.task.batch import Batch
from paper.process import NOISE as NOISE_OF_PROCESS
from paper.process import design

QUERIES, DRAWS, AT_ONCE = 16, 128, 32

GAUSSIAN = ("IterativeGuide", "LaplaceGuide", "SVIGuide", "OptimiserGuide")
"""Methods whose readout is a Gaussian over the latents."""

LINEAR = {
    "known_noise_regression": (lambda x: x, NOISE),
    "weights_of_process": (design, NOISE_OF_PROCESS),
}
"""Linear models, by name: their design as a function of x, and the sd of the noise."""

Data = dict[str, Array]
Depths = tuple[int, ...]


def states_along(method: Method, data: Data, query: Data, rows: int, depths: Depths) -> Any:
    """The states of a dataset after each of some numbers of mini-batches of `rows` rows."""
    count, mask = max(depths), jnp.ones(rows, bool)
    minis = {n: v[: count * rows].reshape(count, rows, *v.shape[1:]) for n, v in data.items()}

    def advance(state: Any, mini: Data) -> tuple[Any, Any]:
        state = method.step(state, Batch(mini, mask))
        return state, state

    state, place = begin(method, query), np.asarray(depths) - 1
    after, _ = advance(state, {n: v[0] for n, v in minis.items()})
    if jax.tree.structure(after) == jax.tree.structure(state):
        whole = jax.lax.scan(advance, state, minis)[1]
    else:  # a first step of another kind
        later = jax.lax.scan(advance, after, {n: v[1:] for n, v in minis.items()})[1]
        whole = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), after, later)
    return jax.tree.map(lambda a: a[place], whole)


def log_predictive(method: Method, state: Any, query: Data, key: Array) -> Float[Array, " Q"]:
    """log p(y* | x*, D) of each query; where latents are inferred, by draws of these."""
    if method.predicts:
        return method.predictive(state, query).log_prob(query)
    posterior = method.readout(state)
    if method.task.name in LINEAR and type(method).__name__ in GAUSSIAN:
        return _of_line(posterior, query, *LINEAR[method.task.name])
    draws = posterior.sample(key, DRAWS)[0]
    rows = jax.vmap(lambda at: method.task.log_densities(at, query)[1])(draws)
    return logsumexp(rows, 0) - jnp.log(DRAWS)


def _of_line(posterior: Any, query: Data, design: Callable, noise: float) -> Float[Array, " Q"]:
    """In closed form under a Gaussian over the weights of a linear model."""
    x = design(query["x"])
    mean = x @ posterior.scale.restore(posterior.frame.location)
    spread = (x * posterior.scale.scale) @ posterior.frame.inverse().T
    return norm.logpdf(query["y"], mean, jnp.sqrt(noise**2 + jnp.sum(spread**2, -1)))


def curve(method: Method, data: Data, rows: int, depths: Depths) -> Float[np.ndarray, "T K"]:
    """Log predictive density after K mini-batches, the mean over the last rows as queries.

    Args:
        method: a trained method.
        data: test tasks, arrays (T, N + Q, ...).
        rows: B.
        depths: the numbers K.
    """
    return np.asarray(_run(_one, method, data, rows, depths), np.float64)


def _one(method: Method, data: Data, key: Array, rows: int, depths: Depths) -> Array:
    seen, query = _apart(data)
    states = states_along(method, seen, query, rows, depths)
    return jax.vmap(lambda s: jnp.mean(log_predictive(method, s, query, key)))(states)


def exact_curve(exact: Callable, data: Data, rows: int, depths: Depths) -> np.ndarray:
    """The same of an exact predictive, (T, K)."""
    return np.asarray(_run(_one_exact, exact, data, rows, depths), np.float64)


def _one_exact(exact: Callable, data: Data, key: Array, rows: int, depths: Depths) -> Array:
    seen, query = _apart(data)
    count = next(iter(seen.values())).shape[0]
    masks = jnp.arange(count) < rows * np.asarray(depths)[:, None]
    return jax.vmap(lambda mask: jnp.mean(exact(seen, mask, query)))(masks)


def seconds_of(method: Method, data: Data, rows: int, depth: int) -> float:
    """CPU seconds of one test task's steps and readout, all tasks in one call, best of three."""
    curve(method, data, rows, (depth,))
    times = []
    for _ in range(3):
        begun = time.process_time()
        curve(method, data, rows, (depth,))
        times.append(time.process_time() - begun)
    return min(times) / next(iter(data.values())).shape[0]


def _apart(data: Data) -> tuple[Data, Data]:
    return {n: v[:-QUERIES] for n, v in data.items()}, {n: v[-QUERIES:] for n, v in data.items()}


def _every(one: Callable, method: Any, data: Data, rows: int, depths: Depths) -> Array:
    keys = jr.split(jr.key(5), next(iter(data.values())).shape[0])
    each = lambda at: one(method, *at, rows, depths)  # noqa: E731
    return jax.lax.map(each, (data, keys), batch_size=AT_ONCE)


_run = Compiled(_every, LIGHT)
"""Programs that run once."""
