"""Datasets of several models, of which each has the number of its model as its latent."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray
from numpyro.distributions import constraints

from amortppl.errors import ModelError
from amortppl.task.abstract import AbstractTask
from amortppl.task.simulation_task import SimulationTask, Source, Values


def choice_task(
    tasks: Sequence[AbstractTask], prior: Sequence[float], *, learn: bool
) -> SimulationTask:
    """k ~ prior, D ~ task k.

    Args:
        tasks: K tasks with the same arguments, of the same shapes and numbers of rows.
        prior: probability of each.
        learn: whether stored simulations come from those that may be learned from.

    Raises:
        ModelError: the tasks differ in their data.
    """
    first = tasks[0]
    for task in tasks[1:]:
        _expect_alike(first, task)
    log_prior = jnp.log(jnp.asarray(prior, jnp.float32))

    def draw(key: PRNGKeyArray, rows: int) -> tuple[Values, Values]:
        number = jr.categorical(jr.fold_in(key, 0), log_prior)
        makers = [t.learning if learn else t.simulate for t in tasks]
        data = jax.lax.switch(
            number, [lambda k, m=m: _data(m(k, rows).data, first.block) for m in makers],
            jr.fold_in(key, 1),
        )  # fmt: skip
        return {"model": number.astype(jnp.float32)}, data

    most = (first.rows or (1, 1))[1]
    made = jax.eval_shape(lambda k: draw(k, most)[1], jr.key(0))
    source = Source(
        supports={"model": constraints.real},
        shapes={"model": ()},
        data={n: v.shape for n, v in made.items()},
        draw=draw,
        why_not="a choice between models is no model",
    )
    name = " or ".join(t.name for t in tasks)
    return SimulationTask(source, first.rows, name=name, ordered=first.ordered)


def _data(data: Values, block: bool) -> Values:
    return {n: (v[0] if block else v).astype(jnp.float32) for n, v in data.items()}


def _expect_alike(first: AbstractTask, other: AbstractTask) -> None:
    shapes = [{n: t.rows_like[n].shape[1:] for n in sorted(t.arguments)} for t in (first, other)]
    if shapes[0] != shapes[1] or first.rows != other.rows or first.ordered != other.ordered:
        raise ModelError(
            f"compare_models: expected models of the same data; {first.name!r} has rows="
            f"{first.rows} of {shapes[0]}, and {other.name!r} rows={other.rows} of {shapes[1]}"
        )


def expect_prior(prior: Sequence[float] | None, models: int) -> list[float]:
    """Probabilities of the models, by default all the same.

    Raises:
        ModelError: they are not that many positive numbers.
    """
    try:
        values = np.full(models, 1 / models) if prior is None else np.asarray(prior, np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (models,) or not np.all(values > 0) or not np.isfinite(values).all():
        raise ModelError(
            f"compare_models: prior: expected {models} positive numbers, one for each model, got "
            f"{prior!r}"
        )
    return (values / values.sum()).tolist()
