"""Averages of a log density's derivatives over a Gaussian frame, by cubature."""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from amortppl.gaussian.frame import Frame, LogDensity, cholesky_of, clipped_eigh

REACH = 3**0.5
"""Distance of the cubature points, in whitened units: third-degree points with a centre, exact for
Gaussian moments along each axis up to the fifth (Julier and Uhlmann 1997)."""


def cubature_points(frame: Frame) -> Float[Array, "K P"]:
    """The 1 + 2P points of a frame: its centre, and those ahead and behind along each axis."""
    size = frame.location.shape[0]
    return frame.unwhiten(
        jnp.concatenate([jnp.zeros((1, size)), REACH * jnp.eye(size), -REACH * jnp.eye(size)])
    )


def whitened_gradients(
    f: LogDensity, frame: Frame, bound: float = 50.0
) -> tuple[Float[Array, " P"], Float[Array, "P P"], Float[Array, "P P"]]:
    """C^-1 grad f at z = 0, at z = +s e_i and at z = -s e_i (row i), s = `REACH`, clipped to the
    bound.
    """
    size = frame.location.shape[0]
    gradients = jax.vmap(jax.grad(f))(cubature_points(frame))
    whitened = solve_triangular(frame.factor, gradients.T, lower=True).T
    whitened = jnp.clip(jnp.nan_to_num(whitened, posinf=0.0, neginf=0.0), -bound, bound)
    return whitened[0], whitened[1 : size + 1], whitened[size + 1 :]


def averages(
    whitened: tuple[Array, Array, Array],
) -> tuple[Float[Array, " P"], Float[Array, "P P"]]:
    """E grad f and -E hess f over a frame, from whitened gradients at its cubature points
    (Stein).
    """
    centre, ahead, behind = whitened
    slope = centre + jnp.sum(ahead + behind - 2.0 * centre, 0) / (2.0 * REACH**2)
    bend = (behind - ahead) / (2.0 * REACH)
    return slope, (bend + bend.T) / 2


def variational_frame(f: LogDensity, frame: Frame, sweeps: int) -> tuple[Frame, Float[Array, " R"]]:
    """Moves a frame to where the log density, averaged over the frame itself, is stationary.

    Each sweep is a damped step of Gaussian variational inference from gradients alone: the
    averages see skewness and tails that the curvature at the mode does not. Opper and Archambeau
    2009, "The variational Gaussian approximation revisited".

    Returns:
        The frame, and what is left in it: r(z) = C^-1 grad f + z at the centre and at each
        cubature point, P + 2 P^2 numbers, all zero when f is the frame itself.
    """
    reach = REACH * jnp.eye(frame.location.shape[0])

    def sweep(frame: Frame, _: None) -> tuple[Frame, tuple[Frame, Array]]:
        centre, ahead, behind = whitened = whitened_gradients(f, frame)
        left = jnp.concatenate([centre, jnp.ravel(ahead + reach), jnp.ravel(behind - reach)])
        slope, bend = averages(whitened)
        values, vectors = clipped_eigh(bend, 0.2, 5.0)
        shift = vectors @ ((vectors.T @ slope) / values)
        shift = shift / jnp.maximum(1.0, jnp.linalg.norm(shift))
        moved = Frame(frame.unwhiten(shift), frame.factor @ cholesky_of(values, vectors))
        return moved, (frame, left)

    frames, left = jax.lax.scan(sweep, frame, length=sweeps + 1)[1]
    return jax.tree.map(lambda a: a[-1], (frames, left))
