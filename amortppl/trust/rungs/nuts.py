"""The rung of NUTS, started from the best draws so far."""

from typing import Any

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.runtime.compilation import Compiled
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.trust.attempt import Attempt, Climb
from amortppl.trust.rungs.batching import batch_together, pad_arrays, split_results
from amortppl.trust.rungs.importance import probabilities, weighted_moments

CHAINS, WARMUP, LONG = 4, 100, 600
"""Chains, warm-up steps with the mass matrix given, and those of a second run that adapts it."""


def run_nuts(run: Climb, places: list[int]) -> list[Attempt]:
    """NUTS from the best draws, their covariance as the mass matrix.

    Datasets whose chains disagree get a second run with a longer warm-up, which adapts the matrix.
    """
    attempts = _sample_chains(run, places, WARMUP, False)
    again = [i for i, a in enumerate(attempts) if a.failed]
    if again:
        longer = _sample_chains(run, [places[i] for i in again], LONG, True)
        for i, attempt in zip(again, longer, strict=True):
            attempts[i] = attempt
    return attempts


def _sample_chains(run: Climb, places: list[int], warmup: int, adapt: bool) -> list[Attempt]:
    """Chains of the datasets at some places, each judged."""
    batch, keys = batch_together(run, places, 5 if adapt else 4)
    starts, covariances = [], []
    for place in places:
        best, rng = run.best[place], np.random.default_rng(run.seed + place)
        starts.append(
            best.vectors[rng.choice(len(best.vectors), CHAINS, p=probabilities(best.log_weights))]
        )
        factor = weighted_moments(best.vectors, best.log_weights)[1]
        covariances.append(factor @ factor.T)
    length = -(-run.draws // CHAINS)
    given = (pad_arrays(starts), pad_arrays(covariances))
    chains = _nuts(run.guide.method.task, batch, keys, *given, warmup, max(length, 250), adapt)
    return [_judge_chains(run, *each) for each in split_results(chains, places)]


def _judge_chains(run: Climb, chains: np.ndarray, heights: np.ndarray) -> Attempt:
    """Chains (C, L, P) evenly thinned to the draws wanted, with R-hat and effective sample size."""
    from arviz_stats.base import array_stats

    chains, ladder = np.asarray(chains, np.float64), run.ladder
    each = [chains[:, :, i] for i in range(chains.shape[2])]
    rhat = max(float(array_stats.rhat(c)) for c in each)
    kinds = ({"method": "bulk"}, {"method": "tail", "prob": (0.05, 0.95)})
    size = min(float(array_stats.ess(c, **kind)) for c in each for kind in kinds)
    kept = np.linspace(0, chains.shape[0] * chains.shape[1] - 1, run.draws).astype(int)
    failed = "" if rhat <= ladder.rhat else f"R-hat {rhat:.3f}"
    failed = failed or ("" if size >= ladder.ess else f"effective sample size {size:.0f}")
    vectors, nothing = chains.reshape(-1, chains.shape[2])[kept], np.full(run.draws, np.nan)
    level = np.full(run.draws, -np.log(run.draws))
    return Attempt(vectors, nothing, heights.reshape(-1)[kept], level, np.nan, size, rhat, failed)


# Compiled calls, always of one dataset or of `DATASETS_PER_CALL`.


@Compiled
def _nuts(
    task: AbstractTask,
    batches: Batch,
    keys: Array,
    starts: Array,
    covariances: Array,
    warmup: int,
    length: int,
    adapt: bool,
) -> tuple[Array, Array]:
    """Chains (T, C, L, P) and the log joint along them (T, C, L)."""
    from numpyro.infer import NUTS

    def one(batch: Batch, key: Array, start: Array, covariance: Array) -> tuple[Array, Array]:
        def chain(key: Array, start: Array) -> tuple[Array, Array]:
            kernel = NUTS(
                potential_fn=lambda v: -task.log_joint(v, batch),
                dense_mass=True,
                inverse_mass_matrix=covariance,
                adapt_mass_matrix=adapt,
                target_accept_prob=0.9 if adapt else 0.8,
            )
            state = kernel.init(key, warmup, start, model_args=(), model_kwargs={})
            step = lambda s, _: (kernel.sample(s, (), {}), None)  # noqa: E731
            state = jax.lax.scan(step, state, length=warmup)[0]

            def kept(state: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
                after = kernel.sample(state, (), {})
                return after, (after.z, -after.potential_energy)

            return jax.lax.scan(kept, state, length=length)[1]

        return jax.vmap(chain)(jr.split(key, CHAINS), start)

    return jax.vmap(one)(batches, keys, starts, covariances)
