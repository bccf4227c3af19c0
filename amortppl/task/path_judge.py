"""The plain model's log likelihood of a series with the path of its states integrated or summed
out.

    log p(y | theta) = f(u^) + (N L / 2) log(2 pi) - log |H| / 2,    f(u) = log p(y, u | theta)

for f quadratic in the path u, with -H its second derivative and u^ its peak. By NumPy and SciPy in
64 bits from `amortppl.task.plain`: H, whose entries more than one step apart are zero, comes from
the gradient of the whole density at three times L paths, and its Cholesky factor from LAPACK's for
banded matrices. Of discrete states, the forward algorithm over all pairs of them. Elsewhere u^ and
H make a Gaussian that paths are drawn from, whose weights exp f / q average to the likelihood.
"""

import numpy as np
from scipy.linalg import cho_solve_banded, cholesky_banded

from amortppl.task.abstract import AbstractTask
from amortppl.task.judged import Judged
from amortppl.task.path_density import Peak, sum_states
from amortppl.task.path_quadrature import SmoothPath
from amortppl.task.path_states import StatePath
from amortppl.task.path_weights import average_weights


def paths_out(task: AbstractTask, vectors: np.ndarray, data: dict[str, np.ndarray]) -> Judged:
    """Log prior and log likelihood of K series, the latter in equal parts for its rows.

    Args:
        task: whose local latents are a path.
        vectors: unconstrained latents, (K, P).
        data: by argument, (K, B, ...).
    """
    one = next((f for kind, f in _WAYS.items() if isinstance(task.local, kind)), _quadratic)
    each = [one(task, v, {n: d[i] for n, d in data.items()}) for i, v in enumerate(vectors)]
    rows = np.shape(next(iter(data.values())))[1]
    prior, total, error = np.array(each).T
    own, off = (np.repeat(a[:, None], rows, 1) for a in (total / rows, error / np.sqrt(rows)))
    return Judged(prior, own, off)


_WAYS = {StatePath: sum_states, SmoothPath: average_weights}


def _quadratic(
    task: AbstractTask, vector: np.ndarray, data: dict[str, np.ndarray]
) -> tuple[float, float, float]:
    rows, size = len(next(iter(data.values()))), task.local.size
    peak = Peak(task, vector, data)
    height, prior, slope, band = peak.look(np.zeros((rows, size)))
    factor = cholesky_banded(band, lower=True)
    move = cho_solve_banded((factor, True), slope.ravel())
    log_det = 2 * np.sum(np.log(factor[0]))
    total = height + 0.5 * slope.ravel() @ move + 0.5 * (rows * size * np.log(2 * np.pi) - log_det)
    return prior, total, 0.0
