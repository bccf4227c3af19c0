"""A trained method as an inference: all datasets of one shape in one compiled call."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from amortppl.diagnostics.inferences.autoguide import independent
from amortppl.diagnostics.inferences.inference import Answers, Inference
from amortppl.method import Method, final
from amortppl.runtime.compilation import Compiled
from amortppl.task.batch import Batch
from amortppl.training.trained import TrainedMethod

TOGETHER = 256
"""Datasets in a call."""


def of_guide(guide: TrainedMethod) -> Inference:
    """The draws that `guide.infer` makes, without its checks."""

    def run(data: dict[str, np.ndarray], keys: Array, draws: int) -> Answers:
        return independent(np.asarray(_draw(guide.method, data, keys, draws)))

    return Inference(type(guide.spec).__name__, TOGETHER, run, guide.hash)


@Compiled
def _draw(method: Method, data: dict[str, Array], keys: Array, draws: int) -> Array:
    """Draws (T, S, P)."""

    def one(data: dict[str, Array], key: Array) -> Array:
        batch = Batch(data, jnp.ones(len(next(iter(data.values()))), bool))
        return method.readout(final(method, batch)).sample(key, draws)[0]

    return jax.vmap(one)(data, keys)
