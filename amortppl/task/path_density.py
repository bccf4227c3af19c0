"""The plain model's log density of a series with a path of its states, by NumPy in 64 bits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.special import logsumexp

from amortppl.runtime.numpy_evaluation import Traced, evaluate
from amortppl.task.abstract import AbstractTask
from amortppl.task.parity import Point, plain_sites, split_sites

Data = dict[str, np.ndarray]


def density_of_path(
    task: AbstractTask, vector: Array, data: dict[str, Array], path: Array
) -> tuple[Array, Array]:
    """(log p(y_t, u_t | u_t-1, theta) of each row, log prior of theta)."""
    sites = plain_sites(task, Point(vector, task.local.unflatten(path), data))
    prior, own = split_sites(task, sites)
    rows = sum(own.values(), jnp.zeros(path.shape[0]))
    return rows, sum(map(jnp.sum, prior.values()), jnp.zeros(()))


def sum_states(task: AbstractTask, vector: np.ndarray, data: Data) -> tuple[float, float, float]:
    """(Log prior, log likelihood, 0) of discrete states, by the forward algorithm."""
    states, count = task.local.states, len(next(iter(data.values())))
    odd, each = np.arange(count)[:, None] % 2 == 1, np.arange(len(states))
    even, uneven = (a.ravel() for a in np.meshgrid(each, each, indexing="ij"))
    paths = np.where(odd, states[uneven][:, None], states[even][:, None])
    run = jax.vmap(partial(density_of_path, task), (None, None, 0))
    rows, prior = evaluate(run, vector, data, paths)
    table = rows.reshape(len(states), len(states), count)
    message, total = np.full(len(states), -np.log(len(states))), 0.0
    for t in range(count):
        own = logsumexp(message[:, None] + (table[:, :, t] if t % 2 else table[:, :, t].T), 0)
        total, message = total + logsumexp(own), own - logsumexp(own)
    return float(prior[0]), float(total), 0.0


class Peak:
    """f(u) = log p(y, u | theta) of one series and theta, and its derivatives in the path u.

    -H, the second derivative, has entries no more than one step apart; they are read off its
    products with 3 L paths.
    """

    def __init__(self, task: AbstractTask, vector: np.ndarray, data: Data) -> None:
        self.task, self.vector, self.data = task, vector, data
        count, self.size = len(next(iter(data.values()))), task.local.size
        self.moved = _every_third(count, self.size)
        self.program = Traced(self._derivatives, vector, data, self.moved[0], self.moved)

    def look(self, path: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
        """(f, log prior, slope (N, L), the lower band of H)."""
        height, prior, slope, second = self.program(self.vector, self.data, path, self.moved)
        return float(height), float(prior), slope, _band(-second, self.size)

    def _derivatives(
        self, vector: Array, data: dict[str, Array], path: Array, along: Array
    ) -> tuple[Array, Array, Array, Array]:
        def height(u: Array) -> tuple[Array, Array]:
            rows, prior = density_of_path(self.task, vector, data, u)
            return jnp.sum(rows), prior

        gradient = jax.grad(lambda u: height(u)[0])
        second = jax.vmap(lambda v: jax.jvp(gradient, (path,), (v,))[1])(along)
        return *height(path), gradient(path), second


def _every_third(rows: int, size: int) -> np.ndarray:
    """Paths that move one number of the rows i, i + 3, i + 6, ..., (3 L, N, L)."""
    place = np.arange(rows) % 3
    moved = (place == np.arange(3)[:, None])[:, None, :, None] * np.eye(size)[:, None, :]
    return moved.reshape(3 * size, rows, size)


def _band(products: np.ndarray, size: int) -> np.ndarray:
    """The lower band of a matrix from its products with the paths of `_every_third`."""
    count = products.shape[1]
    band = np.zeros((2 * size, count * size))
    for column in range(count * size):
        row, number = divmod(column, size)
        product = products[(row % 3) * size + number].ravel()
        below = min(2 * size, count * size - column)
        # Two steps further another moved row begins.
        below = min(below, (row + 2) * size - column)
        band[:below, column] = product[column : column + below]
    return band
