"""The posterior given the rows of several states."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from amortppl.gaussian.filtering import Natural
from amortppl.gaussian.frame import Frame


def union(
    frames: Sequence[tuple[Frame, Array]], priors: Sequence[Natural]
) -> tuple[Frame, Array, Natural]:
    """The frame of prior and all evidence of several frames, each of which holds the prior once.

    Natural parameters add, in float64 on the host:

        B = sum_i (C_i C_i' - B0_i) + mean_i B0_i,    h likewise,    m = B^-1 h

    Returns:
        The frame, what its location lost by rounding, and the prior's factor in it.
    """
    precision, linear = [], []
    for frame, low in frames:
        factor = np.asarray(frame.factor, np.float64)
        precision.append(factor @ factor.T)
        linear.append(
            precision[-1] @ (np.asarray(frame.location, np.float64) + np.asarray(low, np.float64))
        )
    held = Natural(*(np.stack([np.asarray(p[i], np.float64) for p in priors]) for i in range(2)))
    kept = Natural(held.linear.mean(0), held.precision.mean(0))
    total = sum(precision) - held.precision.sum(0) + kept.precision
    location = np.linalg.solve(total, sum(linear) - held.linear.sum(0) + kept.linear)
    rounded = location.astype(np.float32)
    frame = Frame(jnp.asarray(rounded), jnp.asarray(np.linalg.cholesky(total), jnp.float32))
    return (
        frame,
        jnp.asarray(location - rounded, jnp.float32),
        Natural(*(jnp.asarray(k, jnp.float32) for k in kept)),
    )
