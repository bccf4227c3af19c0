"""The plain model's log likelihood of a series with the path of its states integrated out.

    log p(y | theta) = f(u^) + (N L / 2) log(2 pi) - log |H| / 2,    f(u) = log p(y, u | theta)

for f quadratic in the path u, with -H its second derivative and u^ its peak. By NumPy and SciPy in
64 bits from `amortppl.task.plain`: H, whose entries more than one step apart are zero, comes from
the gradient of the whole density at three times L paths, and its Cholesky factor from LAPACK's for
banded matrices.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.linalg import cholesky_banded, cho_solve_banded

from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.task.abstract import AbstractTask
from amortppl.task.judged import Judged
from amortppl.task.parity import Point, plain_sites, split_sites


def paths_out(task: AbstractTask, vectors: np.ndarray, data: dict[str, np.ndarray]) -> Judged:
    """Log prior and log likelihood of K series, the latter in equal parts for its rows.

    Args:
        task: whose local latents are a path.
        vectors: unconstrained latents, (K, P).
        data: by argument, (K, B, ...).
    """
    each = [
        _integral(task, vector, {n: v[i] for n, v in data.items()})
        for i, vector in enumerate(vectors)
    ]
    rows = np.shape(next(iter(data.values())))[1]
    prior, total = np.array(each).T
    own = np.repeat(total[:, None] / rows, rows, 1)
    return Judged(prior, own, np.zeros(own.shape))


def _integral(
    task: AbstractTask, vector: np.ndarray, data: dict[str, np.ndarray]
) -> tuple[float, float]:
    rows, size = len(next(iter(data.values()))), task.local.size
    moved = _every_third(rows, size)

    def parts(u: Array) -> tuple[Array, Array]:
        sites = plain_sites(task, Point(vector, task.local.unflatten(u), data))
        prior, own = split_sites(task, sites)
        return sum(map(jnp.sum, own.values()), jnp.zeros(())), sum(
            map(jnp.sum, prior.values()), jnp.zeros(())
        )

    def derivatives(start: Array, along: Array) -> tuple[Array, Array, Array, Array]:
        gradient = jax.grad(lambda u: parts(u)[0])
        second = jax.vmap(lambda v: jax.jvp(gradient, (start,), (v,))[1])(along)
        return *parts(start), gradient(start), second

    start = np.zeros((rows, size))
    height, prior, slope, second = evaluate(derivatives, start, moved)
    band = _band(-second, size)
    factor = cholesky_banded(band, lower=True)
    peak = cho_solve_banded((factor, True), slope.ravel())
    log_det = 2 * np.sum(np.log(factor[0]))
    total = height + 0.5 * slope.ravel() @ peak + 0.5 * (rows * size * np.log(2 * np.pi) - log_det)
    return float(prior), float(total)


def _every_third(rows: int, size: int) -> np.ndarray:
    """Paths that move number l of the rows i, i + 3, i + 6, ..., (3 L, N, L)."""
    place = np.arange(rows) % 3
    moved = [(place == i)[:, None] * np.eye(size)[l] for i in range(3) for l in range(size)]
    return np.array(moved)


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
