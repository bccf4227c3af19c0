"""What a model computes, as a digest that differs where its program does.

The model is run anew, so that numbers which it reads from elsewhere (a global, a closure, another
module) count as they are now: they are literals and constants of the traced program.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import jax
import jax.random as jr
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from numpyro import handlers
from numpyro.infer.util import compute_log_probs

from amortppl.runtime.compilation import without_collection
from amortppl.task.abstract import AbstractTask

ADDRESS = re.compile(r"0x[0-9a-f]+")


def model_digest(task: AbstractTask) -> str:
    """A digest of the user's model: of the log densities of all sites and of their values, as it
    simulates latents and scores rows of the fewest that the task takes.

    What a function of the model that is compiled by itself (`jax.jit`) has read before, JAX keeps
    as it was; so does any other inference.

    Args:
        task: whose plain model is run.
    """

    def run(data: dict[str, Any]) -> tuple[Any, Any]:
        model, arguments = task.plain.called(data)
        with handlers.block():  # the user's own handlers are to see nothing of this
            densities, trace = compute_log_probs(
                handlers.seed(model, jr.key(0)), (), arguments, {}, sum_log_prob=False
            )
        kinds = ("sample", "deterministic")
        return densities, {n: s["value"] for n, s in trace.items() if s["type"] in kinds}

    like = {n: jax.ShapeDtypeStruct(s.shape, s.dtype) for n, s in task.rows_like.items()}
    with without_collection():
        closed = jax.make_jaxpr(run)(like)
    seen = sha256(ADDRESS.sub("", str(closed.jaxpr)).encode())
    for values in _numbers(closed):
        array = np.asarray(values)
        seen.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return seen.hexdigest()


def _numbers(program: Any) -> Iterator[Any]:
    """Constants and literals of a program and of those within it."""
    if isinstance(program, ClosedJaxpr | Jaxpr):
        yield from map(_plain, getattr(program, "consts", ()))
        for equation in program.eqns:
            yield from (v.val for v in equation.invars if isinstance(v, Literal))
            for value in equation.params.values():
                yield from _numbers(value)
    elif isinstance(program, tuple | list):
        for value in program:
            yield from _numbers(value)


def _plain(values: Any) -> Any:
    """Of a random key its numbers."""
    kind = getattr(values, "dtype", None)
    is_key = kind is not None and jax.dtypes.issubdtype(kind, jax.dtypes.prng_key)
    return jr.key_data(values) if is_key else values
