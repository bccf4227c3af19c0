"""log Gamma in elementary functions, so that derivatives of any order cost about what it costs
itself.

JAX differentiates `lgamma` into digamma and the Hurwitz zeta function, each a long series; a count
model's curvature is mostly those. Stirling's series after a shift is as exact in float32.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import Array, Float

SHIFT = 8
"""From here on Stirling's series with three terms is exact to 1e-9. `_shifted` pairs the factors of
just so many.
"""


@jax.custom_jvp
@jax.jit
def log_gamma(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log |Gamma(x)| for x > -8, within a few float32 roundings; NaN further down.

        Stirling:  log Gamma(z) = (z - 1/2) log z - z + log(2 pi)/2 + 1/(12 z) - 1/(360 z^3) +
            1/(1260 z^5)
        shifted:   log Gamma(x) = log Gamma(x + 8) - log x (x + 1) ... (x + 7)

    Its derivatives are `digamma` and `trigamma`, and from there on what JAX makes of these.
    Abramowitz and Stegun 1964, 6.1.15 and 6.1.41.
    """
    small, _, far, pairs = _shift(x)
    inverse = 1.0 / far
    series = inverse * (1 / 12 - inverse**2 * (1 / 360 - inverse**2 / 1260))
    stirling = (far - 0.5) * jnp.log(far) - far + 0.5 * jnp.log(2 * jnp.pi) + series
    rising = pairs[0] * pairs[1] * pairs[2] * pairs[3]
    return jnp.where(
        x > -SHIFT, stirling - jnp.where(small, jnp.log(jnp.abs(rising)), 0.0), jnp.nan
    )


@jax.custom_jvp
@jax.jit
def digamma(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """d/dx log Gamma(x) for x > -8, NaN further down: 6.3.18 and 6.3.6."""
    small, slope, far, pairs = _shift(x)
    inverse = 1.0 / far
    square = inverse * inverse
    series = jnp.log(far) - 0.5 * inverse - square * (1 / 12 - square * (1 / 120 - square / 252))
    return series - jnp.where(small, slope * sum(1.0 / p for p in pairs), 0.0)


@jax.jit
def trigamma(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """d^2/dx^2 log Gamma(x) for x > -8, NaN further down: 6.4.12 and 6.4.6."""
    small, slope, far, pairs = _shift(x)
    inverse = 1.0 / far
    square = inverse * inverse
    series = inverse + 0.5 * square + inverse * square * (1 / 6 - square * (1 / 30 - square / 42))
    parts = [1.0 / p for p in pairs]
    return jnp.where(
        x > -SHIFT,
        series + jnp.where(small, sum(slope**2 * p * p - 2.0 * p for p in parts), 0.0),
        jnp.nan,
    )


log_gamma.defjvp(lambda at, along: (log_gamma(*at), digamma(*at) * along[0]))
digamma.defjvp(lambda at, along: (digamma(*at), trigamma(*at) * along[0]))


def _shift(x: Array) -> tuple[Array, Array, Array, list[Array]]:
    """Whether x is to be shifted; the pairs x (x + 7), (x + 1)(x + 6), ..., whose product is the
    rising
    factorial, and their common slope; and the argument of the series."""
    small = x < SHIFT
    near = jnp.where(small, x, 1.0)
    first = near * (near + 7)
    return (
        small,
        2 * near + 7,
        jnp.where(small, x + SHIFT, x),
        [first, first + 6, first + 10, first + 12],
    )


def differentiates_log_gamma(f: Callable[..., Array], *args: Any) -> bool:
    """Whether the gradient of a scalar function by its first argument has `digamma` anywhere."""
    return _has(jax.make_jaxpr(jax.grad(f))(*args), "digamma")


def _has(jaxpr: Jaxpr | ClosedJaxpr, primitive: str) -> bool:
    """Whether a program has a primitive anywhere, in the programs that it calls too."""
    for equation in jaxpr.eqns:
        params = equation.params.values()
        inner = (p for value in params for p in (value if isinstance(value, tuple) else (value,)))
        if equation.primitive.name == primitive or any(
            _has(p, primitive) for p in inner if hasattr(p, "eqns")
        ):
            return True
    return False


ELEMENTARY = {jax.lax.lgamma_p: log_gamma}
"""For `amortppl.runtime.jaxpr_rewriting`: float32 `lgamma` without its dear derivatives."""
