"""SVI of NumPyro's automatic guides over many datasets, in one compiled call."""

from typing import Any

import jax
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array

from amortppl.diagnostics.inferences.inference import Answers, Inference
from amortppl.errors import DataError, nearest
from amortppl.runtime.compilation import Compiled
from amortppl.task.abstract import AbstractTask

TOGETHER = 256
"""Datasets in a call."""


def autoguide(
    task: AbstractTask, name: str, steps: int = 2000, rate: float = 0.02, particles: int = 1
) -> Inference:
    """A guide of `numpyro.infer.autoguide`, fitted to each dataset by Adam.

    Args:
        task: the task; the guide is made for the user's own model.
        name: of the class, as `AutoNormal`.
        steps: updates.
        rate: of learning at the start; it falls exponentially to a hundredth.
        particles: draws for each estimate of the ELBO.

    Raises:
        DataError: no such guide.
    """
    from numpyro.infer import autoguide as guides

    there = [n for n in guides.__all__ if n.startswith("Auto")]
    if name not in there:
        raise DataError(f"infer: no guide numpyro.autoguide:{name}{nearest(name, there)}")

    def run(data: dict[str, np.ndarray], keys: Array, draws: int) -> Answers:
        vectors = np.asarray(_fit_and_draw(task, data, keys, name, steps, rate, particles, draws))
        return independent(vectors)

    return Inference(name, TOGETHER, run, f"{steps} {rate} {particles}")


def independent(vectors: np.ndarray) -> Answers:
    """Independent draws (T, S, P) as answers."""
    fine = np.isfinite(vectors).all((1, 2))
    kept = np.where(fine, vectors.shape[1], 0)
    problems = ["" if f else "draws are not finite" for f in fine]
    return Answers(np.where(fine[:, None, None], vectors, 0.0), kept, problems)


@Compiled
def _fit_and_draw(
    task: AbstractTask,
    data: dict[str, Array],
    keys: Array,
    name: str,
    steps: int,
    rate: float,
    particles: int,
    draws: int,
) -> Array:
    """Draws (T, S, P) from the guides fitted to T datasets."""
    return jax.vmap(lambda d, k: _fit_one(task, d, k, name, steps, rate, particles, draws))(
        data, keys
    )


def _fit_one(
    task: AbstractTask,
    data: dict[str, Array],
    key: Array,
    name: str,
    steps: int,
    rate: float,
    particles: int,
    draws: int,
) -> Array:
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer import autoguide as guides

    model, arguments = task.plain.called(data)
    guide = getattr(guides, name)(model)
    schedule = optax.exponential_decay(rate, steps, 0.01)
    svi = SVI(model, guide, optax.adam(schedule), Trace_ELBO(particles))
    first, last = jr.split(key)
    state = svi.init(first, **arguments)

    def update(state: Any, _: None) -> tuple[Any, None]:
        return svi.update(state, **arguments)[0], None

    params = svi.get_params(jax.lax.scan(update, state, length=steps)[0])
    sites = guide.sample_posterior(last, params, sample_shape=(draws,))
    latents = {n: sites[n] for n in task.latents.names}
    return jax.vmap(lambda values: task.unconstrain(values, data))(latents)
