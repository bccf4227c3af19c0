"""log Gamma in elementary functions, so that derivatives of any order cost about what it costs itself.

JAX differentiates `lgamma` into digamma and the Hurwitz zeta function, each a long series; a count
model's curvature is mostly those. Stirling's series after a shift is as exact in float32.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal
from jaxtyping import Array, Float

SHIFT = 8
"""From here on Stirling's series with three terms is exact to 1e-9."""


def log_gamma(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log |Gamma(x)| for x > -8, within a few float32 roundings; NaN further down.

        Stirling:  log Gamma(z) = (z - 1/2) log z - z + log(2 pi)/2 + 1/(12 z) - 1/(360 z^3) + 1/(1260 z^5)
        shifted:   log Gamma(x) = log Gamma(x + 8) - log x (x + 1) ... (x + 7)

    Abramowitz and Stegun 1964, 6.1.15 and 6.1.41.
    """
    small = x < SHIFT
    near = jnp.where(small, x, 1.0)
    far = jnp.where(small, x + SHIFT, x)
    inverse = 1.0 / far
    series = inverse * (1 / 12 - inverse**2 * (1 / 360 - inverse**2 / 1260))
    stirling = (far - 0.5) * jnp.log(far) - far + 0.5 * jnp.log(2 * jnp.pi) + series
    pair = near * (near + 7)  # x (x + 7); those of 1 and 6, 2 and 5, 3 and 4 are larger by 6, 10 and 12
    rising = pair * (pair + 6) * (pair + 10) * (pair + 12)
    return jnp.where(x > -SHIFT, stirling - jnp.where(small, jnp.log(jnp.abs(rising)), 0.0), jnp.nan)


def differentiates_log_gamma(f: Callable[..., Array], *args: Any) -> bool:
    """Whether the gradient of a scalar function by its first argument has `digamma` anywhere."""
    return "digamma" in str(jax.make_jaxpr(jax.grad(f))(*args))


def elementary(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function with `log_gamma` in the place of float32 `lgamma`, outside of loops and branches."""

    def run(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        found = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), found)

    return run


def _evaluate(jaxpr: Jaxpr, consts: list[Any], args: list[Any]) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(place: Any) -> Any:
        return place.val if isinstance(place, Literal) else values[place]

    for equation in jaxpr.eqns:
        inputs, primitive, params = [read(v) for v in equation.invars], equation.primitive, equation.params
        if primitive is jax.lax.lgamma_p and inputs[0].dtype == jnp.float32:
            found = [log_gamma(inputs[0])]
        elif primitive.name in ("jit", "pjit"):
            found = _evaluate(params["jaxpr"].jaxpr, params["jaxpr"].consts, inputs)
        else:
            bound = primitive.get_bind_params(params)
            functions, rest = bound if isinstance(bound, tuple) else ((), bound)  # a pair before JAX 0.11
            found = primitive.bind(*functions, *inputs, **rest)
            found = found if primitive.multiple_results else [found]
        values |= dict(zip(equation.outvars, found, strict=True))
    return [read(v) for v in jaxpr.outvars]
