"""Reference posteriors by long NUTS runs, and the scores of draws against them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from numpyro.infer import MCMC, NUTS
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.model_selection import cross_val_score

from amortppl.task.task import Task


def simulated(
    task: Task, datasets: int, rows: int, seed: int = 0
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Fresh tasks of equal size: their latents (T, P), unconstrained, and arrays (T, N, ...) by
    argument.
    """
    keys = jr.split(jr.key(1000 + seed), datasets)
    draws = jax.jit(jax.vmap(lambda k: task.simulate(k, rows)))(keys)
    return np.asarray(draws.latents), {n: np.asarray(v) for n, v in draws.data.items()}


def nuts(
    task: Task,
    latents: np.ndarray,
    data: dict[str, np.ndarray],
    draws: int,
    warmup: int = 1000,
    chunk: int = 10,
) -> np.ndarray:
    """Unconstrained posterior draws (T, S, P) of T datasets: NUTS on each, many in one compiled
    call.

    Each chain starts at the latents that made its data, so that none is stuck far out; every
    second draw is kept.
    """
    rows = next(iter(data.values())).shape[1]

    def run(key, start, arrays):
        kernel = NUTS(task.model, dense_mass=True, target_accept_prob=0.9)
        sampler = MCMC(
            kernel, num_warmup=warmup, num_samples=2 * draws, thinning=2, progress_bar=False
        )
        given = {n: v[0] if task.block else v for n, v in arrays.items()} | (
            {task.count: rows} if task.count else {}
        )
        sampler.run(key, **given, init_params=task.latents.unflatten(start))
        kept = {n: v for n, v in sampler.get_samples().items() if n in task.latents.names}
        return jax.vmap(lambda s: task.unconstrain(s, arrays))(kept)

    compiled, draws_of_chunks = jax.jit(jax.vmap(run)), []
    for start in range(0, len(latents), chunk):
        part = slice(start, start + chunk)
        keys = jr.split(jr.key(start), len(latents[part]))
        draws_of_chunks.append(
            np.asarray(
                compiled(
                    keys,
                    jnp.asarray(latents[part]),
                    {n: jnp.asarray(v[part]) for n, v in data.items()},
                )
            )
        )
    return np.concatenate(draws_of_chunks)


def scores(draws: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """How far draws (T, S, P) lie from reference draws (T, S', P), over datasets and latents.

    z: error of the mean in reference sds; ratio: of sds; c2st: accuracy of a quadratic
    discriminant, 5-fold, mean over datasets (0.5 is perfect), of all latents and of each alone.
    `left_out` counts the datasets whose reference did not mix, which are no reference.
    """
    sound = mixed(reference)
    draws, reference = draws[sound], reference[sound]
    centre, spread = reference.mean(1), reference.std(1)
    z = np.abs(draws.mean(1) - centre) / spread
    ratio = draws.std(1) / spread
    pairs = list(zip(draws, reference, strict=True))
    c2st = [_c2st(d, r) for d, r in pairs]
    alone = [_c2st(d[:, i : i + 1], r[:, i : i + 1]) for d, r in pairs for i in range(d.shape[1])]
    return {
        "z": float(np.median(z)),
        "z_95": float(np.quantile(z, 0.95)),
        "ratio": float(np.median(ratio)),
        "ratio_5": float(np.quantile(ratio, 0.05)),
        "ratio_95": float(np.quantile(ratio, 0.95)),
        "c2st": float(np.mean(c2st)),
        "c2st_marginal": float(np.mean(alone)),
        "left_out": int((~sound).sum()),
    }


def mixed(reference: np.ndarray) -> np.ndarray:
    """Whether each chain (T, S, P) moved in most steps, and split R-hat of its halves is below 1.05
    everywhere.
    """
    moved = np.mean(np.any(np.diff(reference, axis=1) != 0, -1), -1) > 0.5
    halves = np.stack(
        np.array_split(reference[:, : reference.shape[1] // 2 * 2].astype(np.float64), 2, axis=1), 1
    )
    within, size = halves.var(2, ddof=1).mean(1), halves.shape[2]
    between = halves.mean(2).var(1, ddof=1)
    with np.errstate(all="ignore"):
        rhat = np.sqrt((size - 1) / size + between / within)
    return moved & np.all((rhat < 1.05) & (within > 1e-10), -1)


def _c2st(a: np.ndarray, b: np.ndarray) -> float:
    size = min(len(a), len(b))
    points = np.concatenate([a[:size], b[:size]]).astype(np.float64) / b.std(
        0, dtype=np.float64
    )  # scales first
    spread = np.cov(points[size:], rowvar=False).reshape(b.shape[1], -1)
    points = points @ np.linalg.cholesky(np.linalg.inv(spread))
    return float(
        cross_val_score(
            QuadraticDiscriminantAnalysis(), points, np.repeat([0, 1], size), cv=5
        ).mean()
    )
