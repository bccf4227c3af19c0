"""The rung of further refinement steps."""

import jax
from jaxtyping import Array

from amortppl.method import Method
from amortppl.runtime.compilation import Compiled
from amortppl.task.batch import Batch
from amortppl.trust.attempt import Attempt, Climb, attempt_from_draws
from amortppl.trust.rungs.batching import Draws, batch_together, score_draws, split_results


def refine(run: Climb, places: list[int]) -> list[Attempt]:
    """More steps of the method's own refinement."""
    batch, keys = batch_together(run, places, 1)
    draws = _refine(run.guide.method, batch, keys, run.draws)
    return [attempt_from_draws(each, run.ladder) for each in split_results(draws, places)]


@Compiled
def _refine(method: Method, batches: Batch, keys: Array, draws: int) -> Draws:
    return jax.vmap(lambda b, k: score_draws(method.task, method.refine(b), b, k, draws))(
        batches, keys
    )
