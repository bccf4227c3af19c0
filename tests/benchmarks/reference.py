"""Reference posteriors by long NUTS runs, and the scores of draws against them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from numpyro.infer import MCMC, NUTS
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.model_selection import cross_val_score

from amortppl.task import Task


def simulated(task: Task, datasets: int, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Fresh datasets of equal size, stacked: arrays (T, N, ...) by argument."""
    keys = jr.split(jr.key(1000 + seed), datasets)
    draws = jax.jit(jax.vmap(lambda k: task.simulate(k, rows).data))(keys)
    return {n: np.asarray(v) for n, v in draws.items()}


def nuts(task: Task, data: dict[str, np.ndarray], draws: int, warmup: int = 1000, seed: int = 1, chunk: int = 10, **options) -> np.ndarray:
    """Unconstrained posterior draws (T, S, P) of T datasets: NUTS on each, vectorised in one compiled call.

    Thinned by two; further options go to NUTS.
    """

    def run(key, arrays):
        sampler = MCMC(NUTS(task.model, **options), num_warmup=warmup, num_samples=2 * draws, thinning=2, progress_bar=False)
        sampler.run(key, **{n: v[0] if task.block else v for n, v in arrays.items()}, **({task.count: rows} if task.count else {}))
        kept = {n: v for n, v in sampler.get_samples().items() if n in task.latents.names}
        return jax.vmap(lambda s: task.unconstrain(s, arrays))(kept)

    total, rows = next(iter(data.values())).shape[:2]
    compiled = jax.jit(jax.vmap(run))
    found = []
    for start in range(0, total, chunk):
        part = {n: jnp.asarray(v[start : start + chunk]) for n, v in data.items()}
        found.append(np.asarray(compiled(jr.split(jr.fold_in(jr.key(seed), start), len(next(iter(part.values())))), part)))
    return np.concatenate(found)


def scores(draws: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """How far draws (T, S, P) lie from reference draws (T, S', P), over datasets and latents.

    z: error of the mean in reference sds; ratio: of sds; c2st: accuracy of a quadratic
    discriminant, 5-fold, mean over datasets (0.5 is perfect).
    """
    centre, spread = reference.mean(1), reference.std(1)
    z = np.abs(draws.mean(1) - centre) / spread
    ratio = draws.std(1) / spread
    c2st = [_c2st((d - c) / s, (r - c) / s) for d, r, c, s in zip(draws, reference, centre, spread, strict=True)]
    return {"z": float(np.median(z)), "z_95": float(np.quantile(z, 0.95)), "ratio": float(np.median(ratio)),
            "ratio_5": float(np.quantile(ratio, 0.05)), "ratio_95": float(np.quantile(ratio, 0.95)), "c2st": float(np.mean(c2st))}  # fmt: skip


def _c2st(a: np.ndarray, b: np.ndarray) -> float:
    size = min(len(a), len(b))
    points = np.concatenate([a[:size], b[:size]])
    return float(cross_val_score(QuadraticDiscriminantAnalysis(), points, np.repeat([0, 1], size), cv=5).mean())
