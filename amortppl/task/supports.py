"""Which values of data lie in the supports of the sites that they feed."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool

from amortppl.runtime.jaxpr_rewriting import depends_on_first
from amortppl.task.abstract import AbstractTask


def supported(task: AbstractTask, data: Mapping[str, Array]) -> dict[str, Bool[Array, "..."]]:
    """For each observation, which of its values do.

    Of a support that depends on a latent, as of Uniform(0, theta), all do: the density decides.
    """

    def inside(vector: Array, data: Mapping[str, Array]) -> dict[str, Array]:
        trace = task.trace_at(vector, data)
        return {a: trace[s]["fn"].support(trace[s]["value"]) for a, s in task.observed.items()}

    zeros = jnp.zeros(task.latents.size)
    fixed = {
        a: True if depends_on_first(lambda v, d, a=a: inside(v, d)[a], zeros, data) else v
        for a, v in inside(zeros, data).items()
    }
    whole = {
        a: jnp.broadcast_to(v, data[a].shape) if task.tied or v is True else jnp.asarray(v)
        for a, v in fixed.items()
    }
    return {a: v[None] if task.block else v for a, v in whole.items()}
