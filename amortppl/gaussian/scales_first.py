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

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from amortppl.gaussian.arrow import Arrow
from amortppl.gaussian.cholesky_precision import CholeskyPrecision
from amortppl.gaussian.conditional_mode import conditional_mode
from amortppl.gaussian.cubature import REACH, sweep
from amortppl.gaussian.frame import Frame
from amortppl.gaussian.log_density import Densities
from amortppl.gaussian.newton import gradient_and_curvature
from amortppl.gaussian.plates import join_plates, split_plates
from amortppl.gaussian.touched import Classes, Split
from amortppl.runtime.batched_map import batched_map
from amortppl.task.batch import Batch

SWEEPS = 30
"""Sweeps of h, at most. Each changes a precision fivefold and moves h by one sd, at most."""

FARTHER, ALIKE = 5.0, 2.0
"""Sds by which a sweep moves h, at most, where curvatures are those of its Gaussian up to such a
factor: then the heights are a parabola, whose top may be far."""

STEPS = 10
"""Newton steps of u at a place of h, at most."""

LEAST = 1e-3
"""Least curvature of an effect in prior units, given all else."""

SETTLED = 0.03
"""Largest change of place, in sds, and of sds by a sweep after which there is none."""

TOGETHER = 4_000_000
"""Numbers of the places of h that are taken together."""

LOWEST = 200.0
"""Heights below the highest that are told apart, in nats."""


class Effects(eqx.Module):
    """The latents h and u of a dataset, in prior units.

    Attributes:
        log: the model's log densities.
        real: which latents are u.
        classes: which of these the rows depend on; None to take all of u together, where they are
            few.
        batch: the rows.
        rows: for each class the place in u of the latent that a row depends on.
    """

    log: Densities
    real: tuple[bool, ...] = eqx.field(static=True)
    classes: Classes | None = eqx.field(static=True)
    batch: Batch
    rows: Int[Array, "K N"]

    @classmethod
    def find(
        cls,
        log: Densities,
        real: tuple[bool, ...],
        classes: Classes | None,
        batch: Batch,
        near: Array,
    ) -> "Effects":
        """The rows' latents, by derivatives at a vector `near` (P,) in prior units."""
        none = cls(log, real, classes, batch, jnp.zeros((classes.count if classes else 0, 0), int))
        if classes is None:
            return none
        h, u = split_plates(near, real)
        rows = classes.depends(lambda v: none.split(h)(v)[1], u)
        return cls(log, real, classes, batch, rows)

    def split(self, h: Float[Array, " H"]) -> Split:
        """Log prior and log density of each row, of u given h."""

        def densities(u: Array) -> tuple[Array, Array]:
            prior, rows = self.log.with_prior(join_plates(h, u, self.real), self.batch)
            return prior, jnp.where(self.batch.mask, rows, 0.0)

        return densities

    @property
    def at_once(self) -> int:
        """Places of h that are taken together."""
        size, rows = sum(self.real), self.batch.mask.shape[-1]
        if self.classes is None:
            return max(1, TOGETHER // (size * max(size, rows)))
        others = len(self.classes.plates.outer)
        numbers = max(rows * self.classes.products, size * others)
        return 1 if self.classes.is_sparse else max(1, TOGETHER // numbers)

    def joint(self, h: Float[Array, " H"], u: Float[Array, " E"]) -> Float[Array, ""]:
        """The log joint density."""
        prior, rows = self.split(h)(u)
        return prior + jnp.sum(rows)

    def mode(
        self, h: Float[Array, " H"], start: Float[Array, " E"], steps: int
    ) -> tuple[Float[Array, " E"], Arrow | CholeskyPrecision]:
        """The mode of u given h, and -Hessian near it."""
        classes, density = self.classes, lambda u: self.joint(h, u)

        def differentiate(at: Array) -> tuple[Array, Arrow | CholeskyPrecision]:
            if classes is None:
                gradient, matrix = jax.tree.map(jnp.nan_to_num, gradient_and_curvature(density, at))
                return gradient, CholeskyPrecision.of(matrix)
            found = classes.precision(self.split(h), at, self.rows)
            gradient, blocks, pairs = jax.tree.map(jnp.nan_to_num, found)
            return gradient, Arrow.of_blocks(classes.plates, blocks, LEAST, pairs)

        if classes is None:
            nowhere = CholeskyPrecision.identity(len(start))
        else:
            nowhere = Arrow.identity(classes.plates, CholeskyPrecision)
        return conditional_mode(density, start, differentiate, nowhere, steps)


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


class Scales(NamedTuple):
    """A Gaussian of h, and the mode of u there, which moves with h.

    Attributes:
        frame: of h.
        mode: of u at the frame's location.
        gradient: of the mode by whitened h, (H, E).
    """

    frame: Frame
    mode: Float[Array, " E"]
    gradient: Float[Array, "H E"]


def scales_first(effects: Effects, start: Float[Array, " P"], sweeps: int = SWEEPS) -> Scales:
    """The Gaussian of h by its marginal, and the modes of u given h.

    Args:
        effects: the latents and rows.
        start: a vector in prior units.
        sweeps: of h, at most; they end where one moves h by less than `SETTLED`.
    """
    h, u = split_plates(start, effects.real)
    quadratic, side = Quadratic.of(len(h)), len(h)
    points = jnp.asarray(quadratic.points)

    def settle(now: _Place) -> _Place:
        def look(at: Array) -> tuple[Array, Array]:
            mode, precision = effects.mode(at, now.modes[0], STEPS)
            return effects.joint(at, mode) - 0.5 * precision.log_det(), mode

        heights, modes = batched_map(look, now.ahead.unwhiten(points), effects.at_once)
        heights = jnp.where(jnp.isfinite(heights), heights, -jnp.inf)
        heights = jnp.maximum(heights, jnp.max(heights) - LOWEST)
        slope, bend = quadratic.slopes(heights)
        values = jnp.linalg.eigvalsh(bend)
        known = (jnp.min(values) > 1 / ALIKE) & (jnp.max(values) < ALIKE)
        ahead = sweep(now.ahead, slope, bend, jnp.where(known, FARTHER, 1.0))
        moved = now.ahead.whiten(ahead.location)
        turned = solve_triangular(now.ahead.factor, ahead.factor, lower=True) - jnp.eye(side)
        rest = jnp.maximum(jnp.max(jnp.abs(moved)), jnp.max(jnp.abs(turned)))
        return _Place(ahead, now.ahead, modes, rest, now.sweeps + 1)

    frame = Frame(h, jnp.eye(side, dtype=h.dtype))
    modes = jnp.broadcast_to(u, (len(points), len(u)))
    begin = _Place(frame, frame, modes, jnp.ones((), h.dtype), jnp.zeros((), int))
    goes_on = lambda now: (now.rest > SETTLED) & (now.sweeps <= sweeps)  # noqa: E731
    last = jax.lax.while_loop(goes_on, settle, begin)
    by_axis = (last.modes[1 : side + 1] - last.modes[side + 1 : 2 * side + 1]) / (2 * REACH)
    return Scales(last.frame, last.modes[0], by_axis)


class _Place(NamedTuple):
    """Where h goes next and where it is, the modes of u around there, how far the next place is
    in sds, and how many sweeps were made."""

    ahead: Frame
    frame: Frame
    modes: Float[Array, "K E"]
    rest: Float[Array, ""]
    sweeps: Int[Array, ""]
