"""The rung of NUTS, started from the best draws so far."""

from typing import Any

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.errors import ModelError
from amortppl.runtime.compilation import Compiled
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.trust.attempt import Attempt, Climb
from amortppl.trust.rungs.batching import batch_together, pad_arrays, split_results
from amortppl.trust.rungs.importance import MOST, probabilities, weighted_moments

CHAINS, SHORTEST = 4, 250
"""Chains, and steps of each that are kept, at least."""

RUNS = ((100, 1, False), (600, 1, True), (1000, 8, True))
"""Of each run: steps of warm-up, times as many steps kept, and whether the mass matrix is adapted.
Each takes the datasets whose chains of the run before disagree."""


def run_nuts(run: Climb, places: list[int]) -> list[Attempt]:
    """NUTS from the best draws, their covariance as the mass matrix.

    Datasets whose chains disagree get a second run with a longer warm-up, which adapts the matrix,
    and then longer chains, which heavy tails need; of those the draws wanted are kept evenly.

    Raises:
        ModelError: more than `MOST` latents, for which chains of such a matrix take hours.
    """
    if run.guide.task.latents.size > MOST:
        raise ModelError(f"more than {MOST:,} latents for a dense mass matrix")
    attempts: dict[int, Attempt] = {}
    for number in range(len(RUNS)):
        again = [p for p in places if p not in attempts or attempts[p].failed]
        if again:
            attempts |= zip(again, _sample_chains(run, again, number), strict=True)
    return [attempts[p] for p in places]


def _sample_chains(run: Climb, places: list[int], number: int) -> list[Attempt]:
    """Chains of the datasets at some places, each judged."""
    batch, keys = batch_together(run, places, 4 + number)
    starts, covariances = [], []
    for place in places:
        best, rng = run.best[place], np.random.default_rng(run.seed + place)
        starts.append(
            best.vectors[rng.choice(len(best.vectors), CHAINS, p=probabilities(best.log_weights))]
        )
        factor = weighted_moments(best.vectors, best.log_weights)[1]
        covariances.append(factor @ factor.T)
    warmup, times, adapt = RUNS[number]
    length = times * max(-(-run.draws // CHAINS), SHORTEST)
    given = (pad_arrays(starts), pad_arrays(covariances))
    chains = _nuts(run.guide.method.task, batch, keys, *given, warmup, length, adapt)
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
