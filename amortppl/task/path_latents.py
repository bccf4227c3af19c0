"""Latents that follow one another, one step a row: the state of a linear Gaussian state space,
integrated out by a Kalman filter.

    u_t | u_t-1, theta,   y_t | u_t, y_1..t-1, theta,     p(y_1..N | theta) = int p(y, u | theta) du

Row t of the model's log density is r_t(u_t-1, u_t), a quadratic form, read off the user's program
by derivatives: since a row looks at its own u and the one before it, those of even and of odd rows
are moved together, and 2 L directions give all first and second derivatives. A Gaussian message
N(m_t, P_t) of u_t given y_1..t then passes from row to row,

    p(y_t | y_1..t-1) = int int N(u_t-1; m_t-1, P_t-1) exp r_t(u_t-1, u_t) du_t-1 du_t,

so that rows behind the data change nothing. Paths are drawn backwards. Kalman 1960, "A new approach
to linear filtering and prediction problems"; Carter and Kohn 1994, "On Gibbs sampling for state
space models"; Frühwirth-Schnatter 1994, "Data augmentation and dynamic linear models".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from amortppl.runtime.compilation import run_once
from amortppl.task.local_latents import Local
from amortppl.task.quadrature import FINE
from amortppl.task.small_matrices import cholesky, half_log_det, inverse, inverse_factor
from amortppl.task.tracing import Site

TOLERANCE = 1e-3
"""Relative change of a curvature that is rounding."""

LOG_2PI = float(np.log(2 * np.pi))


class Quadratic(NamedTuple):
    """Each row's log density in the deviations d of (u_t-1, u_t) from a path:

    r_t = height + slope' d - d' precision d / 2
    """

    height: Float[Array, " N"]
    slope: Float[Array, "N M"]
    precision: Float[Array, "N M M"]


class Message(NamedTuple):
    """A Gaussian of u_t given y_1..t, as a deviation: precision and linear term, exp(h'd - d'Bd/2),
    normalized.
    """

    precision: Float[Array, "L L"]
    linear: Float[Array, " L"]

    def log_constant(self) -> Array:
        """log int exp(h'd - d'Bd/2) dd."""
        factor = cholesky(self.precision)
        half = inverse_factor(factor) @ self.linear
        size = self.linear.shape[0]
        return 0.5 * half @ half - half_log_det(factor) + 0.5 * LOG_2PI * size


class Backward(NamedTuple):
    """u_t-1 given u_t and y_1..t: precision K, mean K^-1 (linear - across d_t)."""

    precision: Float[Array, "N L L"]
    linear: Float[Array, "N L"]
    across: Float[Array, "N L L"]


class Filtered(NamedTuple):
    """log p(y_t | y_1..t-1) of each row, the message of each, and what paths are drawn by."""

    rows: Float[Array, " N"]
    messages: Message
    back: Backward


class Path(Local):
    """The latents of a path; in the place of latents that are independent from row to row.

    Attributes:
        curved: whether their densities were found to be no quadratic forms.
    """

    in_turn = True
    rule, curved = "by a Kalman filter", False
    rounding = (
        ": rounding in 32 bits, as where steps of the path or the noise are thousands of times "
        "smaller than the data; centre and scale these, or set jax_enable_x64"
    )
    inexact = (
        "a Kalman filter wants steps and observations that are Normal around linear functions of "
        "the path, which they are not at this draw or on these data"
    )
    evaluations = FINE

    def __init__(self, local: Local) -> None:
        self.__dict__.update(local.__dict__)

    def log_densities(
        self, vector: Float[Array, " P"], data: Mapping[str, Array]
    ) -> tuple[Array, Float[Array, " N"]]:
        """(log prior of theta, log p(y_t | y_1..t-1, theta) of each row)."""
        at = self.mean(*stop_gradient((vector, dict(data))))
        quadratic = expand(lambda u: self.joint(vector, data, u)[1], at)
        return self.joint(vector, data, at)[0], forward(quadratic).rows

    def mean(self, vector: Float[Array, " P"], data: Mapping[str, Array]) -> Float[Array, "N L"]:
        """The mean path given all rows. Expansions about it lose nothing by rounding."""
        rows = next(iter(data.values())).shape[0]
        at = jnp.zeros((rows, self.size), vector.dtype)
        filtered = forward(expand(lambda u: self.joint(vector, data, u)[1], at))
        return at + backward(filtered, lambda mean, *_: mean, jnp.zeros((rows, self.size)))

    def draw(
        self, vector: Float[Array, " P"], data: Mapping[str, Array], key: Array
    ) -> Float[Array, "N L"]:
        """A path drawn from p(u | y, theta), unconstrained."""
        at = self.mean(vector, data)
        filtered = forward(expand(lambda u: self.joint(vector, data, u)[1], at))

        def sample(mean: Array, precision: Array, z: Array) -> Array:
            return mean + inverse_factor(cholesky(precision)).T @ z

        return at + backward(filtered, sample, jr.normal(key, at.shape))

    def check(
        self, deterministic: Mapping[str, Site], fixed: Sequence[str], has_density: bool
    ) -> list[str]:
        """Probes whether the latents are the states of a linear Gaussian state space.

        Raises:
            ModelError: a row looks further back than one step, or its density is not quadratic.
        """
        far, quadratic = run_once(jax.vmap(self._structure), jr.split(jr.key(3), 2))
        names = list(self.sites)
        if bool(jnp.any(far)):
            raise self.error(
                names,
                "here a row looks further back than one step of it, or ahead. Write the state so "
                "that each step follows from the one before (a vector of lags), centred, in a scan",
            )
        first, second = (jax.tree.map(lambda a, i=i: a[i], quadratic) for i in (0, 1))
        size = TOLERANCE * (1.0 + jnp.abs(first))
        self.curved = not bool(jnp.all(jnp.isfinite(first) & (jnp.abs(first - second) <= size)))
        if self.curved:
            raise self.error(
                names,
                "a path of latents is integrated out by a Kalman filter, where each step and the "
                "observations are Normal around linear functions of it, which they are not here",
            )
        steady = [n for n in deterministic if n not in fixed]
        return [n for n in steady if self._moves(n)]

    def _structure(self, key: Array) -> tuple[Array, Array]:
        """Whether a row depends on a step that is not its own or the one before it; and the rows'
        precisions at a random path and the same latents and data.
        """
        vector, data = (
            jr.normal(jr.key(5), (self.density.latents.size,)) / 2,
            self._simulated(jr.key(11)),
        )
        u = jr.normal(key, (self.rows, self.size))
        slopes = jax.jacfwd(lambda u: self.joint(vector, data, u)[1])(u)
        place = np.arange(self.rows)
        near = (place[:, None] - place >= 0) & (place[:, None] - place <= 1)
        far = jnp.any(jnp.where(near[:, :, None], 0.0, jnp.nan_to_num(slopes)) != 0)
        return far, expand(lambda u: self.joint(vector, data, u)[1], u).precision

    def _simulated(self, key: Array) -> dict[str, Array]:
        inputs = self.density.program.input_rows(key, self.rows)
        trace = self.density.program.trace(key, inputs, self.rows)
        return inputs | self.density.observations(trace)

    def _moves(self, name: str) -> bool:
        """Whether a deterministic site changes with the path."""
        vector, data = jnp.zeros(self.density.latents.size), self._simulated(jr.key(11))

        def value(u: Array) -> Array:
            trace = self.density.trace_at(vector, data, self.unflatten(u))
            return jnp.asarray(trace[name]["value"], jnp.float32)

        ends = run_once(jax.vmap(value), self._ends())
        return bool(jnp.any(ends[0] != ends[1]))

    def _ends(self) -> Float[Array, "2 N L"]:
        """Two paths between which a deterministic site may change."""
        return jr.normal(jr.key(1), (2, self.rows, self.size))


def expand(
    rows: Callable[[Float[Array, "N L"]], Float[Array, " N"]], at: Float[Array, "N L"]
) -> Quadratic:
    """Value, slope and precision of each row's log density in (u_t-1, u_t), at a path.

    >>> def rows(u):  # -(u_t - u_t-1)^2 / 2
    ...     return -0.5 * (u[:, 0] - jnp.concatenate([jnp.zeros(1), u[:-1, 0]])) ** 2
    >>> expand(rows, jnp.zeros((3, 1))).precision[1].tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    count, size = at.shape
    odd = np.arange(count) % 2
    moved = (odd == np.arange(2)[:, None])[:, None, :, None] * np.eye(size)[None, :, None, :]
    along = jnp.asarray(moved.reshape(2 * size, count, size), at.dtype)

    def first(v: Array) -> Callable[[Array], Array]:
        return lambda u: jax.jvp(rows, (u,), (v,))[1]

    def both(v: Array) -> tuple[Array, Array]:
        return jax.vmap(lambda w: jax.jvp(first(v), (at,), (w,)))(along)

    slopes, curves = jax.vmap(both)(along)
    # By row: those of the row before, then the row's own.
    even, uneven = np.arange(2 * size).reshape(2, size)
    order = np.where(odd[:, None], np.append(even, uneven), np.append(uneven, even))
    slope = jnp.take_along_axis(slopes[:, 0].T, order, 1)
    curve = jnp.moveaxis(curves, 2, 0)
    curve = jnp.take_along_axis(curve, order[:, :, None], 1)
    curve = jnp.take_along_axis(curve, order[:, None, :], 2)
    return Quadratic(rows(at), slope, -(curve + curve.mT) / 2)


def forward(rows: Quadratic) -> Filtered:
    """Passes the message from row to row; before the first, any Gaussian will do."""
    size = rows.slope.shape[1] // 2
    before = Message(jnp.eye(size), jnp.zeros(size))

    def step(message: Message, row: Quadratic) -> tuple[Message, tuple[Array, Message, Backward]]:
        (h_p, h_o), across = jnp.split(row.slope, 2), row.precision[:size, size:]
        joined = Message(message.precision + row.precision[:size, :size], message.linear + h_p)
        solved = inverse(joined.precision) @ jnp.column_stack([across, joined.linear])
        precision = row.precision[size:, size:] - across.T @ solved[:, :size]
        after = Message((precision + precision.T) / 2, h_o - across.T @ solved[:, size])
        density = row.height + joined.log_constant() - message.log_constant()
        back = Backward(joined.precision, joined.linear, across)
        return after, (density + after.log_constant(), after, back)

    return Filtered(*jax.lax.scan(step, before, rows)[1])


def backward(
    filtered: Filtered,
    pick: Callable[[Array, Array, Array], Array],
    noise: Float[Array, "N L"],
) -> Float[Array, "N L"]:
    """A path from the last row back to the first: `pick(mean, precision, noise)` of each step."""
    last = jax.tree.map(lambda a: a[-1], filtered.messages)
    end = pick(inverse(last.precision) @ last.linear, last.precision, noise[-1])

    def step(after: Array, at: tuple[Backward, Array]) -> tuple[Array, Array]:
        back, z = at
        mean = inverse(back.precision) @ (back.linear - back.across @ after)
        chosen = pick(mean, back.precision, z)
        return chosen, chosen

    later = jax.tree.map(lambda a: a[1:], filtered.back)
    path = jax.lax.scan(step, end, (later, noise[:-1]), reverse=True)[1]
    return jnp.concatenate([path, end[None]])
