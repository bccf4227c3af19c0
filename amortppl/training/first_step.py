"""Greedy training takes methods whose first step is the same program as the later ones."""

import jax
import jax.numpy as jnp

from amortppl.errors import TrainingError
from amortppl.method import Method, begin
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch


def refuse_other_first_step(method: Method, task: AbstractTask) -> None:
    """Refuses methods whose first step is another program than the later ones."""
    low = task.rows[0]
    rows = {n: jnp.zeros((low, *s.shape[1:]), s.dtype) for n, s in task.rows_like.items()}
    query = {n: v[:1] for n, v in rows.items()}
    first = jax.eval_shape(lambda: begin(method, query))
    later = jax.eval_shape(
        lambda: method.step(begin(method, query), Batch(rows, jnp.ones(low, bool)))
    )
    shape = lambda tree: (  # noqa: E731
        jax.tree.structure(tree),
        [(a.shape, a.dtype) for a in jax.tree.leaves(tree)],
    )
    if shape(first) != shape(later):
        raise TrainingError(
            f"mini_batch: {type(method).__name__} begins with another kind of state than its steps "
            f"give, and tasks "
            "of a pool stand at all depths; train it with mini_batches=K"
        )
