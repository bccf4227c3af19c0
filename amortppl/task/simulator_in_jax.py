"""A simulator written in JAX as the source of a task: run anew whenever simulations are needed."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from amortppl.errors import ModelError
from amortppl.simulators.prior import Prior
from amortppl.simulators.supports import expect_many_values, infer_support
from amortppl.simulators.targets import Chosen
from amortppl.simulators.worker import Call
from amortppl.task.simulation_task import Source, Values


def compiled_source(
    prior: Prior, call: Call, chosen: Chosen, most: int | None, why_not: str
) -> Source:
    """A simulator in JAX, run on the device in the programs that need simulations.

    Args:
        prior: draws the latents.
        call: how the simulator is called.
        chosen: the targets.
        most: the most rows; None for one block.
        why_not: why nothing can be predicted, in words; empty where it can.

    Raises:
        ModelError: JAX cannot trace it.
    """

    def run(key: PRNGKeyArray, values: Values, rows: int | None) -> dict[str, Array]:
        output = call.simulator(**call.arguments(values, rows), key=key)
        output = output if isinstance(output, Mapping) else {"x": output}
        return {n: jnp.asarray(v, jnp.float32) for n, v in output.items()}

    def draw(key: PRNGKeyArray, rows: int) -> tuple[Values, Values]:
        values = prior.draw(jr.fold_in(key, 0))
        data = run(jr.fold_in(key, 1), values, rows if most else None)
        return {n: jnp.asarray(v, jnp.float32) for n, v in chosen.of(values).items()}, data

    def predict(key: PRNGKeyArray, values: Values, rows: int) -> Values:
        return run(key, prior.complete(values), rows if most else None)

    try:
        targets, data = jax.eval_shape(lambda k: draw(k, most or 1), jr.key(0))
        drawn = jax.jit(jax.vmap(lambda k: draw(k, most or 1)[0]))(jr.split(jr.key(3), 4096))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"simulator: it takes `key`, so it should be a function that JAX can trace, and it "
            f"fails ({type(error).__name__}: {str(error).splitlines()[0]}). A simulator in NumPy "
            "takes `rng` or `seed` in place of `key`"
        ) from error
    for name, values in drawn.items():
        expect_many_values(name, np.asarray(values))
    fixed = {n: s.support for n, s in prior.sites.items() if s.support is not None}
    return Source(
        supports={n: fixed.get(n) or infer_support(np.asarray(v)) for n, v in drawn.items()},
        shapes={n: v.shape for n, v in targets.items()},
        data={n: v.shape for n, v in data.items()},
        draw=draw,
        predict=None if why_not else predict,
        why_not=why_not,
        simulator=call.simulator,
    )
