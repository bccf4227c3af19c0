"""The frame of a model whose effects are crossed: scales by their marginal, all else given them.

Latents are h, whose support is bounded (standard deviations), and u, which are real numbers. The
marginal of h is Laplace's approximation in u,

    log p(h, D) = log p(u(h), h, D) - 1/2 log |-Hessian in u|,    u(h) the mode,

exact where u is Gaussian given h. A Gaussian of h is moved to it by sweeps of Gaussian variational
inference from heights alone, at points sqrt(3) sds from its centre: derivatives of the determinant
would be third derivatives of the model. Rue, Martino and Chopin 2009, "Approximate Bayesian
inference for latent Gaussian models by using integrated nested Laplace approximations", JRSS B 71.
"""

from itertools import combinations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from amortppl.gaussian.cholesky_precision import CholeskyPrecision
from amortppl.gaussian.conditional_mode import conditional_mode
from amortppl.gaussian.cubature import REACH, sweep
from amortppl.gaussian.frame import Frame, lower_factor
from amortppl.gaussian.log_density import Densities
from amortppl.gaussian.plates import join_plates, split_plates
from amortppl.gaussian.touched import Classes, Split
from amortppl.task.batch import Batch

SWEEPS = 14
"""Sweeps of h. Each moves it by one sd and changes a precision fivefold, at most."""

STEPS = 10
"""Newton steps of u at a place of h, at most."""

LOWEST = 200.0
"""Heights below the highest that are told apart, in nats."""


class Effects(NamedTuple):
    """The latents h and u of a dataset, in prior units.

    Attributes:
        log: the model's log densities.
        real: which latents are u.
        classes: which of these the rows depend on.
        batch: the rows.
        rows: for each class the place in u of the latent that a row depends on.
    """

    log: Densities
    real: tuple[bool, ...]
    classes: Classes
    batch: Batch
    rows: Int[Array, "K N"]

    @classmethod
    def find(
        cls, log: Densities, real: tuple[bool, ...], classes: Classes, batch: Batch, near: Array
    ) -> "Effects":
        """The rows' latents, by derivatives at a vector `near` (P,) in prior units."""
        none = cls(log, real, classes, batch, jnp.zeros((classes.count, 0), int))
        h, u = split_plates(near, real)
        return none._replace(rows=classes.depends(lambda v: none.split(h)(v)[1], u))

    def split(self, h: Float[Array, " H"]) -> Split:
        """Log prior and log density of each row, of u given h."""

        def densities(u: Array) -> tuple[Array, Array]:
            prior, rows = self.log.with_prior(join_plates(h, u, self.real), self.batch)
            return prior, jnp.where(self.batch.mask, rows, 0.0)

        return densities

    def joint(self, h: Float[Array, " H"], u: Float[Array, " E"]) -> Float[Array, ""]:
        """The log joint density."""
        prior, rows = self.split(h)(u)
        return prior + jnp.sum(rows)

    def mode(
        self, h: Float[Array, " H"], start: Float[Array, " E"], steps: int
    ) -> tuple[Float[Array, " E"], CholeskyPrecision]:
        """The mode of u given h, and -Hessian near it."""

        def differentiate(at: Array) -> tuple[Array, CholeskyPrecision]:
            gradient, matrix = self.classes.precision(self.split(h), at, self.rows)
            return jnp.nan_to_num(gradient), CholeskyPrecision.of(jnp.nan_to_num(matrix))

        nowhere = CholeskyPrecision.identity(len(start))
        return conditional_mode(lambda u: self.joint(h, u), start, differentiate, nowhere, steps)


class Quadratic(NamedTuple):
    """Points at which a function of H whitened numbers gives its average slope and curvature.

    The centre, all axes ahead and behind, and between every pair of axes, all `REACH` away.
    """

    points: Float[np.ndarray, "K H"]

    @classmethod
    def of(cls, size: int) -> "Quadratic":
        """The points of so many numbers."""
        unit = np.eye(size)
        between = [(unit[i] + unit[j]) / 2**0.5 for i, j in combinations(range(size), 2)]
        sides = np.concatenate([0 * unit[:1], unit, -unit, *(b[None] for b in between)])
        return cls((REACH * sides).astype(np.float32))

    def slopes(self, heights: Float[Array, " K"]) -> tuple[Float[Array, " H"], Float[Array, "H H"]]:
        """Gradient and -Hessian of the quadratic through the heights.

        >>> f = lambda z: z[0] - z[0] ** 2 - 0.5 * z[0] * z[1]
        >>> points = Quadratic.of(2)
        >>> slope, curvature = points.slopes(jax.vmap(f)(jnp.asarray(points.points)))
        >>> slope.round(3).tolist(), curvature.round(3).tolist()
        ([1.0, 0.0], [[2.0, 0.5], [0.5, 0.0]])
        """
        size = self.points.shape[1]
        centre, ahead, behind = heights[0], heights[1 : size + 1], heights[size + 1 : 2 * size + 1]
        slope = (ahead - behind) / (2 * REACH)
        diagonal = (2 * centre - ahead - behind) / REACH**2
        first, second = np.array([*combinations(range(size), 2)], int).reshape(-1, 2).T
        half = REACH / 2**0.5
        line = centre + half * (slope[first] + slope[second])
        line = line - half**2 * (diagonal[first] + diagonal[second]) / 2
        across = (line - heights[2 * size + 1 :]) / half**2
        curvature = jnp.diag(diagonal).at[first, second].set(across).at[second, first].set(across)
        return slope, curvature


def scales_first(effects: Effects, start: Float[Array, " P"], sweeps: int = SWEEPS) -> Frame:
    """The Gaussian of h by its marginal, and of u given h by its mode and curvature.

    Args:
        effects: the latents and rows.
        start: a vector in prior units.
        sweeps: of h.
    """
    h, u = split_plates(start, effects.real)
    quadratic, side = Quadratic.of(len(h)), len(h)
    points = jnp.asarray(quadratic.points)

    def settle(now: _Place, _: None) -> tuple[_Place, None]:
        def look(at: Array) -> tuple[Array, Array, Array]:
            mode, precision = effects.mode(at, now.modes[0], STEPS)
            height = effects.joint(at, mode) - 0.5 * precision.log_det()
            return height, mode, precision.factor

        heights, modes, factors = jax.vmap(look)(now.ahead.unwhiten(points))
        heights = jnp.where(jnp.isfinite(heights), heights, -jnp.inf)
        heights = jnp.maximum(heights, jnp.max(heights) - LOWEST)
        ahead = sweep(now.ahead, *quadratic.slopes(heights))
        return _Place(ahead, now.ahead, modes, factors[0]), None

    frame = Frame(h, jnp.eye(side, dtype=h.dtype))
    modes = jnp.broadcast_to(u, (len(points), len(u)))
    begin = _Place(frame, frame, modes, jnp.eye(len(u), dtype=u.dtype))
    last, _ = jax.lax.scan(settle, begin, length=sweeps + 1)
    by_axis = (last.modes[1 : side + 1] - last.modes[side + 1 : 2 * side + 1]) / (2 * REACH)
    gradient = (last.frame.factor @ by_axis).T
    return _together(effects.real, last.frame, last.modes[0], gradient, last.factor)


class _Place(NamedTuple):
    """Where h goes next and where it is, the modes of u around there, and the factor of u's
    precision given the centre."""

    ahead: Frame
    frame: Frame
    modes: Float[Array, "K E"]
    factor: Float[Array, "E E"]


def _together(
    real: tuple[bool, ...], of_h: Frame, mode: Array, gradient: Array, factor: Array
) -> Frame:
    """The Gaussian of all latents from h's and that of u given h, whose mode moves with h."""
    none = jnp.zeros((len(of_h.location), len(mode)), mode.dtype)
    rows = (
        join_plates(-factor.T @ gradient, factor.T, real),
        join_plates(of_h.factor.T, none, real),
    )
    return Frame(join_plates(of_h.location, mode, real), lower_factor(jnp.concatenate(rows)))
