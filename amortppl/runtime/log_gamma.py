"""log Gamma in elementary functions, whose derivatives cost about as much as itself.

JAX differentiates `lgamma` into digamma and the Hurwitz zeta function, each a long series; they
take most of the time of a count model's curvature. Stirling's series after a shift is as exact in
float32.

Leans on the names of JAX's primitives: `jax.lax.lgamma_p`, and `digamma` in its derivative, which
`jax.make_jaxpr` shows through `jax.extend.core`. JAX has no public way to ask which functions a
program calls. Checked with JAX 0.12.0.1; tests/runtime/test_internals.py fails where they change.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import Array, Float

SHIFT = 8
"""Where Stirling's series with three terms is exact to 1e-9; `_shift` pairs so many factors."""


@jax.custom_jvp
@jax.jit
def log_gamma(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log |Gamma(x)| for x > -8, within a few float32 roundings; NaN further down.

        Stirling:  log Gamma(z) = (z - 1/2) log z - z + log(2 pi)/2 + 1/(12 z) - 1/(360 z^3) +
            1/(1260 z^5)
        shifted:   log Gamma(x) = log Gamma(x + 8) - log x (x + 1) ... (x + 7)

    Its derivatives are `digamma` and `trigamma`, and from there on what JAX makes of these.
    Abramowitz and Stegun 1964, 6.1.15 and 6.1.41.

    >>> import jax.numpy as jnp
    >>> round(float(log_gamma(jnp.float32(5.0))), 3)  # log 4!
    3.178
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
    """d/dx log Gamma(x) for x > -8, NaN further down: 6.3.18 and 6.3.6 of Abramowitz and Stegun."""
    small, derivative, far, pairs = _shift(x)
    inverse = 1.0 / far
    square = inverse * inverse
    series = jnp.log(far) - 0.5 * inverse - square * (1 / 12 - square * (1 / 120 - square / 252))
    return series - jnp.where(small, derivative * sum(1.0 / p for p in pairs), 0.0)


@jax.jit
def trigamma(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """d^2/dx^2 log Gamma(x) for x > -8, NaN further down: 6.4.12 and 6.4.6, ibid."""
    small, derivative, far, pairs = _shift(x)
    inverse = 1.0 / far
    square = inverse * inverse
    series = inverse + 0.5 * square + inverse * square * (1 / 6 - square * (1 / 30 - square / 42))
    parts = [1.0 / p for p in pairs]
    return jnp.where(
        x > -SHIFT,
        series + jnp.where(small, sum(derivative**2 * p * p - 2.0 * p for p in parts), 0.0),
        jnp.nan,
    )


log_gamma.defjvp(lambda at, along: (log_gamma(*at), digamma(*at) * along[0]))
digamma.defjvp(lambda at, along: (digamma(*at), trigamma(*at) * along[0]))


def _shift(x: Array) -> tuple[Array, Array, Array, list[Array]]:
    """What shifts the argument of Stirling's series to where it is exact.

    Returns:
        Whether x is shifted; the derivative 2 x + 7 common to the pairs; the argument of the
        series; and the pairs x (x + 7), (x + 1)(x + 6), ..., whose product is the rising factorial.
    """
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
    """Whether the gradient of a scalar function by its first argument has `digamma` anywhere.

    The gradient is not traced where the function itself has neither that nor `lgamma`.
    """
    value = jax.make_jaxpr(f)(*args)
    if not any(_has(value, p) for p in ("lgamma", "digamma")):
        return False
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
