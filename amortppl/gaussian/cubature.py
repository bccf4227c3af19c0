"""Averages of a log density's derivatives over a Gaussian frame, by cubature."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.frame import Frame, LogDensity, clipped_eigh

REACH = 3**0.5
"""Distance of the cubature points from the centre, in whitened units.

Third-degree points with a centre, exact for Gaussian moments along each axis up to the fifth
(Julier and Uhlmann 1997).
"""


def cubature_points(frame: Frame) -> Float[Array, "K P"]:
    """The 1 + 2P points of a frame: its centre, then z = +s e_i, then z = -s e_i, s = `REACH`."""
    size = frame.location.shape[0]
    return frame.unwhiten(
        jnp.concatenate([jnp.zeros((1, size)), REACH * jnp.eye(size), -REACH * jnp.eye(size)])
    )


def whitened_gradients(
    f: LogDensity, frame: Frame, bound: float = 50.0
) -> tuple[Float[Array, " P"], Float[Array, "P P"], Float[Array, "P P"]]:
    """Whitened gradients C^-1 grad f at the cubature points, clipped to [-bound, bound].

    Returns:
        At z = 0, at z = +s e_i (row i) and at z = -s e_i (row i), s = `REACH`.
    """
    gradients = jax.vmap(jax.grad(f))(cubature_points(frame))
    return clip_whitened(gradients @ frame.inverse().T, bound)


def clip_whitened(
    whitened: Float[Array, "K P"], bound: float = 50.0
) -> tuple[Float[Array, " P"], Float[Array, "P P"], Float[Array, "P P"]]:
    """Whitened gradients at cubature points, clipped; at the centre, ahead and behind."""
    size = whitened.shape[1]
    whitened = jnp.clip(jnp.nan_to_num(whitened, posinf=0.0, neginf=0.0), -bound, bound)
    return whitened[0], whitened[1 : size + 1], whitened[size + 1 :]


def averages(
    whitened: tuple[Array, Array, Array],
) -> tuple[Float[Array, " P"], Float[Array, "P P"]]:
    """E grad f and -E hess f over a frame, from whitened gradients at its cubature points.

    The second follows from gradients by Stein's identity, E hess f = E [grad f z'].
    """
    centre, ahead, behind = whitened
    gradient = centre + jnp.sum(ahead + behind - 2.0 * centre, 0) / (2.0 * REACH**2)
    curvature = (behind - ahead) / (2.0 * REACH)
    return gradient, (curvature + curvature.T) / 2


def variational_frame(f: LogDensity, frame: Frame, sweeps: int) -> tuple[Frame, Float[Array, " R"]]:
    """Moves a frame to where the log density, averaged over the frame itself, is stationary.

    Each sweep is a damped step of Gaussian variational inference from gradients alone: the
    averages see skewness and tails that the curvature at the mode does not. Opper and Archambeau
    2009, "The variational Gaussian approximation revisited".

    Returns:
        The frame, and its residual: r(z) = C^-1 grad f + z at the centre and at each cubature
        point, P + 2 P^2 numbers, all zero where f is the frame itself.
    """

    def settle(frame: Frame, _: None) -> tuple[Frame, tuple[Frame, Array]]:
        whitened = whitened_gradients(f, frame)
        return sweep(frame, *averages(whitened)), (frame, residual_of(whitened))

    frames, residual = jax.lax.scan(settle, frame, length=sweeps + 1)[1]
    return jax.tree.map(lambda a: a[-1], (frames, residual))


def sweep(
    frame: Frame,
    gradient: Float[Array, " P"],
    curvature: Float[Array, "P P"],
    longest: Array | float = 1.0,
) -> Frame:
    """The frame after a damped step by whitened averages of a log density's derivatives.

    Args:
        frame: before.
        gradient, curvature: averages of the gradient and of -Hessian.
        longest: norm of the step, at most.
    """
    spectrum = clipped_eigh(curvature, 0.2, 5.0)
    shift = spectrum.solve(gradient)
    shift = shift / jnp.maximum(1.0, jnp.linalg.norm(shift) / longest)
    return Frame(frame.unwhiten(shift), frame.factor @ spectrum.cholesky())


def residual_of(whitened: tuple[Array, Array, Array]) -> Float[Array, " R"]:
    """r(z) = C^-1 grad f + z at the centre, ahead and behind; see `variational_frame`."""
    centre, ahead, behind = whitened
    reach = REACH * jnp.eye(len(centre))
    return jnp.concatenate([centre, jnp.ravel(ahead + reach), jnp.ravel(behind - reach)])
