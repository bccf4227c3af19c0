"""The frame of a hierarchical model: latents in plates integrated out, then placed given the rest.

With theta = (g, d), d the latents in plates, the mode of the joint density can be far from its
mass: where d = (effect - location) / scale, the width of d falls with the scale, which the
mode does not see. So g is placed by its own marginal density, whose gradient is that of the
joint averaged over d (Fisher's identity),

    grad log p(g, D) = E_{d | g, D} grad_g log p(g, d, D),

over a Gaussian at the mode of d given g, at cubature points: exact where d is Gaussian given g.
Rue, Martino and Chopin 2009, "Approximate Bayesian inference for latent Gaussian models by using
integrated nested Laplace approximations", JRSS B 71; Louis 1982, "Finding the observed information
matrix when using the EM algorithm", JRSS B 44.

The mode of all latents, the search by the marginal, the funnel and the sweeps after it are rounds
of one loop, so that the model's derivatives are traced and compiled once: they are most of the
program.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import (
    averages,
    clip_whitened,
    cubature_points,
    residual_of,
    sweep,
)
from amortppl.gaussian.filtering import Natural
from amortppl.gaussian.frame import Frame, clip_norm
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.marginal_search import (
    Ascent,
    Point,
    Surroundings,
    average,
    condition,
    follow,
    log_scales,
    next_place,
    points_of_d,
)
from amortppl.gaussian.newton import differentiate
from amortppl.gaussian.placement import Placed, natural, place
from amortppl.gaussian.plan import Effort, Round, plan, settling_calls, width
from amortppl.gaussian.plates import Plates

FARTHEST = 3.0
"""Longest Newton step of all latents together, in prior sds."""

Derivatives = Callable[[Array, Array, Array], tuple[Array, Array, Array]]
"""Heights (M,), gradients (M, P) and Hessian products (M, P) of the log joint at M places (M, P),
along vectors (M, P); of the log prior alone where the third argument is True."""


class Climb(NamedTuple):
    """The highest place so far, its height, Newton's step of all latents, and how much of it."""

    at: Float[Array, " P"]
    height: Float[Array, ""]
    step: Float[Array, " P"]
    length: Float[Array, ""]


class Progress(NamedTuple):
    """What goes from round to round.

    Attributes:
        climb: the search for the mode of all latents.
        ascent: that for the mode of the marginal.
        point: the place conditioned last.
        around: the marginal around its mode, as it is filled.
        placed: the answer, as it is found.
    """

    climb: Climb
    ascent: Ascent
    point: Point
    around: Surroundings
    placed: Placed


class HierarchicalSearch(NamedTuple):
    """The Laplace approximation of g's marginal and of d given g, moved to where the mass lies.

    Attributes:
        derivatives: of the log joint and log prior, in coordinates where the prior has unit scale.
        plates: which latents are d: some, not all.
        starts: of these the climb begins at the highest.
        effort: how much to do.
    """

    derivatives: Derivatives
    plates: Plates
    starts: Float[Array, "S P"]
    effort: Effort

    def run(self) -> Placed:
        """A funnel, in whose coordinates d does not vary with g, and a frame in these coordinates.

        The search has other starts than the mode of all latents too (`marginal_search.follow`):
        that of effects and their own scale may be where the scale is zero.
        """
        rounds = plan(self.plates, len(self.starts), self.effort)
        return jax.lax.scan(self._round, self._begin(), rounds)[0].placed

    def _begin(self) -> Progress:
        size, kind = self.starts.shape[1], self.starts.dtype
        (g, d), parts = self.plates.split(self.starts[0]), self.plates.members.shape
        zero, lowest = jnp.zeros((), kind), jnp.asarray(jnp.finfo(kind).min, kind)
        factor = jnp.broadcast_to(jnp.eye(parts[1], dtype=kind), (*parts, parts[1]))
        both, square = jnp.zeros((len(d), len(g)), kind), jnp.eye(len(g), dtype=kind)
        point = Point(g, d, lowest, 0 * g, factor, both, 0 * g + 1, square, 0 * g)
        climb = Climb(self.starts[0], lowest, jnp.zeros(size, kind), zero + 1)
        ascent = Ascent(point, 0 * g, zero + 1, d)
        count = 2 * len(g)
        sides = jnp.zeros((count, len(d)), kind)
        around = Surroundings(
            jnp.zeros(count, kind), sides, jnp.zeros((count, *both.shape), kind), sides
        )
        frame = Frame(self.starts[0], jnp.eye(size, dtype=kind))
        residual = jnp.zeros(size + 2 * size * size, kind)
        prior = Natural(self.starts[0], frame.factor)
        funnel = jax.tree.map(
            lambda a: a if a.dtype == bool else a.astype(kind), Funnel.none(self.plates.plated)
        )
        return Progress(climb, ascent, point, around, Placed(frame, funnel, residual, prior))

    def _round(self, now: Progress, at: Round) -> tuple[Progress, None]:
        places, along = jax.lax.switch(
            at.kind, [self._one_place, self._around_d, self._no_place, self._around_frame], now, at
        )
        heights, gradients, products = self._evaluate(places, along, at)
        takes = [self._condition, self._average, self._fit, self._settle]
        after = jax.lax.switch(at.kind, takes, now, at, places, heights, gradients, products)
        return after, None

    def _evaluate(self, places: Array, along: Array, at: Round) -> tuple[Array, Array, Array]:
        """The derivatives at as many places as the round asks for, `width` of them together."""
        together = width(self.plates)

        def call(number: Array, results: tuple[Array, ...]) -> tuple[Array, ...]:
            start = number * together
            part = jax.lax.dynamic_slice_in_dim(places, start, together)
            each = self.derivatives(part, along, at.prior)
            put = jax.lax.dynamic_update_slice_in_dim
            return tuple(put(a, b, start, 0) for a, b in zip(results, each, strict=True))

        none = jnp.zeros_like(places[:, 0]), jnp.zeros_like(places), jnp.zeros_like(places)
        return jax.lax.fori_loop(0, at.calls, call, none)

    def _one_place(self, now: Progress, at: Round) -> tuple[Array, Array]:
        climb, begun = now.climb, at.number >= len(self.starts)
        ahead = climb.at + clip_norm(climb.length * climb.step, FARTHEST)
        start = self.starts[jnp.minimum(at.number, len(self.starts) - 1)]
        g, d, _ = next_place(now.ascent, at.number, self.effort.steps)
        together = jnp.where(begun, ahead, start)
        place = jnp.where(at.climbing, together, self.plates.join(g, d))
        return self._padded(place[None]), self._along(self.plates.directions)

    def _around_d(self, now: Progress, at: Round) -> tuple[Array, Array]:
        return self._padded(points_of_d(self.plates, now.point)), self._along()

    def _no_place(self, now: Progress, at: Round) -> tuple[Array, Array]:
        return self._padded(now.climb.at[None]), self._along()

    def _around_frame(self, now: Progress, at: Round) -> tuple[Array, Array]:
        points = cubature_points(now.placed.frame)
        return self._padded(now.placed.funnel.forward(points)), self._along()

    def _padded(self, places: Float[Array, "K P"]) -> Float[Array, "M P"]:
        rows = jnp.minimum(
            jnp.arange(width(self.plates) * settling_calls(self.plates)), len(places) - 1
        )
        return places[rows]

    def _along(self, vectors: Array | None = None) -> Float[Array, "M P"]:
        size, together = len(self.plates.parts), width(self.plates)
        given = jnp.zeros((0, size)) if vectors is None else jnp.asarray(vectors)
        more = jnp.zeros((together - len(given), size))
        return jnp.concatenate([given, more]).astype(self.starts.dtype)

    def _condition(self, now: Progress, at: Round, *seen: Array) -> Progress:
        places, heights, gradients, products = seen
        longest = next_place(now.ascent, at.number, self.effort.steps)[2]
        products = products[: len(self.plates.directions)]
        point, step = condition(self.plates, places[0], gradients[0], products, longest)
        climb = self._climb(now.climb, at, places[0], heights[0], step)
        g, d = self.plates.split(climb.at)
        begun = now.ascent._replace(best=now.ascent.best._replace(g=g, d=d), last=d)
        climb, ascent = jax.tree.map(
            lambda a, b: jnp.where(at.climbing, a, b), (climb, begun), (now.climb, now.ascent)
        )
        return now._replace(climb=climb, ascent=ascent, point=point)

    def _climb(self, now: Climb, at: Round, place: Array, height: Array, step: Array) -> Climb:
        """Newton's steps of all latents together, shorter after one that does not lead up."""
        height = jnp.where(jnp.isfinite(height), height, -jnp.inf)
        better = height > now.height
        new = Climb(place, height, jnp.nan_to_num(step), jnp.ones_like(height))
        shorter = now._replace(
            length=jnp.where(at.number < len(self.starts), 1.0, 0.3) * now.length
        )
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, shorter)

    def _average(self, now: Progress, at: Round, *seen: Array) -> Progress:
        count = 1 + 2 * self.plates.most
        point = average(self.plates, now.point, seen[1][:count], seen[2][:count])
        ascent = follow(now.ascent, point, at.number, self.effort.steps, at.axis)
        place = jnp.maximum((at.number - self.effort.steps) // 2, 0)
        values = point.height, point.d, point.mode_gradient, log_scales(self.plates, point)
        around = Surroundings(
            *(a.at[place].set(b) for a, b in zip(now.around, values, strict=True))
        )
        return now._replace(ascent=ascent, point=point, around=around)

    def _fit(self, now: Progress, at: Round, *seen: Array) -> Progress:
        frame, funnel = place(self.plates, now.ascent.best, now.around)
        return now._replace(placed=now.placed._replace(frame=frame, funnel=funnel))

    def _settle(self, now: Progress, at: Round, *seen: Array) -> Progress:
        """A variational sweep, the residual of the frame, or the prior's part in it."""
        before, size = now.placed, self.starts.shape[1]
        whitened = self._whiten(before, seen[2][: 1 + 2 * size])
        gradient, curvature = averages(whitened)
        moved = sweep(before.frame, gradient, curvature)
        frame = jax.tree.map(lambda a, b: jnp.where(at.moving, a, b), moved, before.frame)
        residual = jnp.where(at.prior, before.residual, residual_of(whitened))
        prior = natural(gradient, curvature, before.frame)
        return now._replace(placed=Placed(frame, before.funnel, residual, prior))

    def _whiten(self, placed: Placed, gradients: Float[Array, "K P"]) -> tuple[Array, ...]:
        """Whitened gradients at a frame's cubature points, in its funnel's coordinates.

        By the inverse, as in `Frame.unwhiten`: a solve of 47 columns by 23 rows was shared among
        BLAS's threads and took most of the search.
        """
        funnel, frame = placed.funnel, placed.frame

        def straighten(point: Array, gradient: Array) -> Array:
            level = lambda v: funnel.forward(v) @ gradient + funnel.log_det(v)  # noqa: E731
            return jax.grad(level)(point)

        straight = jax.vmap(straighten)(cubature_points(frame), gradients)
        return clip_whitened(straight @ frame.inverse().T)


def nested_laplace(
    f: Callable[[Float[Array, " P"]], Array], start: Float[Array, " P"], plates: Plates
) -> tuple[Frame, Funnel]:
    """The Laplace approximation of g's marginal and of d given g, from one start.

    Args:
        f: log joint density, in coordinates where the prior has unit scale.
        start: about its mode, if it has one.
        plates: which latents are d: some, not all.

    Returns:
        The funnel, and the frame in its coordinates.
    """
    each = jax.vmap(partial(differentiate, f))
    derivatives = lambda at, along, _: each(at, along)  # noqa: E731
    placed = HierarchicalSearch(derivatives, plates, start[None], Effort()).run()
    return placed.frame, placed.funnel
