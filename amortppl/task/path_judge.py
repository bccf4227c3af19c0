"""The plain model's log likelihood of a series with the path of its states integrated or summed
out.

    log p(y | theta) = f(u^) + (N L / 2) log(2 pi) - log |H| / 2,    f(u) = log p(y, u | theta)

for f quadratic in the path u, with -H its second derivative and u^ its peak. By NumPy and SciPy in
64 bits from `amortppl.task.plain`: H, whose entries more than one step apart are zero, comes from
the gradient of the whole density at three times L paths, and its Cholesky factor from LAPACK's for
banded matrices. Of discrete states, the forward algorithm over all pairs of them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.special import logsumexp

from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.task.abstract import AbstractTask
from amortppl.task.judged import Judged
from amortppl.task.parity import Point, plain_sites, split_sites
from amortppl.task.path_states import StatePath


def paths_out(task: AbstractTask, vectors: np.ndarray, data: dict[str, np.ndarray]) -> Judged:
    """Log prior and log likelihood of K series, the latter in equal parts for its rows.

    Args:
        task: whose local latents are a path.
        vectors: unconstrained latents, (K, P).
        data: by argument, (K, B, ...).
    """
    one = _sum if isinstance(task.local, StatePath) else _integral
    each = [
        one(task, vector, {n: v[i] for n, v in data.items()}) for i, vector in enumerate(vectors)
    ]
    rows = np.shape(next(iter(data.values())))[1]
    prior, total = np.array(each).T
    own = np.repeat(total[:, None] / rows, rows, 1)
    return Judged(prior, own, np.zeros(own.shape))


def _sum(
    task: AbstractTask, vector: np.ndarray, data: dict[str, np.ndarray]
) -> tuple[float, float]:
    states, count = task.local.states, len(next(iter(data.values())))
    odd = np.arange(count)[:, None] % 2 == 1
    each = np.arange(len(states))
    even, uneven = (a.ravel() for a in np.meshgrid(each, each, indexing="ij"))
    paths = np.where(odd, states[uneven][:, None], states[even][:, None])

    def parts(at: Array, rows_of: dict[str, Array], z: Array) -> tuple[Array, Array]:
        sites = plain_sites(task, Point(at, task.local.unflatten(z), rows_of))
        prior, own = split_sites(task, sites)
        rows = sum(own.values(), jnp.zeros(count))
        return sum(map(jnp.sum, prior.values()), jnp.zeros(())), rows

    run = jax.vmap(parts, (None, None, 0))
    prior, rows = evaluate(run, vector, data, paths)
    table = rows.reshape(len(states), len(states), count)
    message, total = np.full(len(states), -np.log(len(states))), 0.0
    for t in range(count):
        own = logsumexp(message[:, None] + (table[:, :, t] if t % 2 else table[:, :, t].T), 0)
        total, message = total + logsumexp(own), own - logsumexp(own)
    return float(prior[0]), float(total)


def _integral(
    task: AbstractTask, vector: np.ndarray, data: dict[str, np.ndarray]
) -> tuple[float, float]:
    rows, size = len(next(iter(data.values()))), task.local.size
    moved = _every_third(rows, size)

    def parts(at: Array, rows_of: dict[str, Array], u: Array) -> tuple[Array, Array]:
        sites = plain_sites(task, Point(at, task.local.unflatten(u), rows_of))
        prior, own = split_sites(task, sites)
        return sum(map(jnp.sum, own.values()), jnp.zeros(())), sum(
            map(jnp.sum, prior.values()), jnp.zeros(())
        )

    def derivatives(
        at: Array, rows_of: dict[str, Array], start: Array, along: Array
    ) -> tuple[Array, Array, Array, Array]:
        gradient = jax.grad(lambda u: parts(at, rows_of, u)[0])
        second = jax.vmap(lambda v: jax.jvp(gradient, (start,), (v,))[1])(along)
        return *parts(at, rows_of, start), gradient(start), second

    start = np.zeros((rows, size))
    height, prior, slope, second = evaluate(derivatives, vector, data, start, moved)
    band = _band(-second, size)
    factor = cholesky_banded(band, lower=True)
    peak = cho_solve_banded((factor, True), slope.ravel())
    log_det = 2 * np.sum(np.log(factor[0]))
    total = height + 0.5 * slope.ravel() @ peak + 0.5 * (rows * size * np.log(2 * np.pi) - log_det)
    return float(prior), float(total)


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
