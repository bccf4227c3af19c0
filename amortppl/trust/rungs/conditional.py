"""The rung that draws scales first, then all other latents given them.

Latents are h, whose support is bounded (standard deviations, shapes, shares, correlations), and u,
which are real numbers. Draws are importance draws of

    h ~ (1 - a) Student-t(m, S) + a Student-t(prior)
    u | h ~ N(mode of p(u, h, D) in u, c^2 (-Hessian there)^-1)

with weights p(u, h, D) / q(u, h) of the model's own density. Where u is Gaussian given h, as the
coefficients and group effects of a regression with normal errors are, the weights vary by h alone:
however narrow the conditional becomes where a scale goes to zero, they do not notice. Rue, Martino
and Chopin 2009, "Approximate Bayesian inference for latent Gaussian models by using integrated
nested Laplace approximations", JRSS B 71, with importance sampling in the place of a grid.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool

from amortppl.errors import ModelError
from amortppl.gaussian.arrow import Arrow, gradient_and_arrow
from amortppl.gaussian.frame import Spectrum, clip_norm, clipped_eigh
from amortppl.gaussian.newton import gradient_and_curvature
from amortppl.gaussian.plate_detection import widest_plate
from amortppl.gaussian.plates import Plates
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import LIGHT, Options, compile_with
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale
from amortppl.trust import psis
from amortppl.trust.attempt import Attempt, Climb
from amortppl.trust.rungs.batching import (
    Draws,
    batch_together,
    fold_keys,
    pad_arrays,
    split_results,
)
from amortppl.trust.rungs.importance import (
    FREEDOM,
    resample_draws,
    weighted_moments,
)

ROUNDS = ((0.5, 1.0), (0.2, 1.0), (0.1, 1.0), (0.1, 1.15), (0.1, 1.15))
"""a and c of each round: a share of h from the prior, since the draws before may be nowhere near;
at last u wider than the curvature at the mode, for tails that are.
"""

STEPS, LONGEST, NEAR = 5, 8.0, 0.03
"""Most Newton steps of u for each h, their greatest length in prior sds, and how near the mode is
near enough, in sds of u given h: weights make up for it.
"""

LEAST = 0.9
"""Least curvature in prior units. The prior's own is 1, but for the error of these units; in 32
bits it would be lost beside the likelihood's where there are more columns than rows.
"""

POOL, WORK, ARROW = 2, 1_000_000_000, 4
"""Importance draws for each draw wanted; draws x Newton steps x (rows x u + u^3), up to which the
rung is climbed; and how many times that where the precision of u is an arrow.
"""

TOGETHER = 4_000_000
"""Rows times u times draws that are differentiated at once."""


def draw_conditionally(run: Climb, places: list[int]) -> list[Attempt]:
    """Rounds of importance sampling; a dataset keeps its first attempt that passes.

    The proposal of h has the moments of the weighted draws of the round before.

    Raises:
        ModelError: no latent has a bounded support, or all have; the method has no prior units; or
            the work is too much.
    """
    task, scale = run.guide.method.task, getattr(run.guide.method, "scale", None)
    real = real_latents(task)
    batch, keys = batch_together(run, places, 6)
    _expect_two_kinds(real, scale)
    plates = plates_among(task, getattr(run.guide.method, "plates", None), real)
    count = _affordable(run.draws, batch.mask.shape[-1], int(real.sum()), plates)
    best = [(a.vectors, a.log_weights) for a in (run.best[i] for i in places)]
    attempts: list[Attempt | None] = [None] * len(places)
    for number, shape in enumerate(ROUNDS):
        moments = [weighted_moments(*draws) for draws in best]
        centres, factors = (pad_arrays([m[k] for m in moments]) for k in range(2))
        given = (centres, factors, jnp.array(shape, jnp.float32), scale)
        draws = conditional_draws(
            task, tuple(real.tolist()), plates, batch, fold_keys(keys, number), given, count
        )
        for place, own in enumerate(split_results(draws, places)):
            attempt = attempts[place]
            if attempt is not None and not attempt.failed:
                continue
            attempts[place] = resample_draws(run, own, run.seed + number)
            weights = psis.check(own[2][None], own[1][None]).log_weights[0]
            best[place] = (np.asarray(own[0], np.float64), weights)
        if all(a is not None and not a.failed for a in attempts):
            break
    return [a for a in attempts if a is not None]


def _expect_two_kinds(real: np.ndarray, scale: PriorScale | None) -> None:
    if scale is None:
        raise ModelError("the method has no prior units")
    if real.all() or not real.any():
        raise ModelError("all latents are of one kind, real or bounded")


def plates_among(
    task: AbstractTask, plates: Plates | None, real: Bool[np.ndarray, " P"]
) -> Plates | None:
    """Which of u are in parts that are independent given the rest, so that the Hessian among them
    is an arrow (`amortppl.gaussian.arrow`); None where they are too few to matter, or none.
    """
    if plates is None:
        return None
    if max(plates.parts) < 1:
        plates = widest_plate(task)
    own = [p for p, is_real in zip(plates.parts if plates else (), real, strict=False) if is_real]
    outside = any(p < 0 for p in own)
    return Plates(tuple(own)) if outside and len({*own} - {-1}) > 1 else None


def _affordable(draws: int, rows: int, inner: int, plates: Plates | None) -> int:
    """Importance draws for so many wanted: `POOL` times as many, or what `WORK` allows.

    Raises:
        ModelError: it allows fewer than are wanted, or than 1,000.
    """
    columns, algebra, most_work = inner, inner**3, WORK
    if plates is not None:  # no other rung is as good for so many effects
        most_work = ARROW * WORK
        most, outer = plates.most, len(plates.outer)
        columns, algebra = most + outer, inner * (most**2 + outer**2)
    work = STEPS * (columns * rows + algebra)
    count = min(max(POOL * draws, 1000), most_work // work)
    if count < max(draws, 1000):
        needed = max(draws, 1000) * work
        raise ModelError(f"too much work: {needed:.1g} derivatives, {most_work:.1g} at most")
    return count


def real_latents(task: AbstractTask) -> np.ndarray:
    """Which entries of the unconstrained vector are of latents that are any real number, (P,).

    >>> import amortppl as ap
    >>> task = ap.model("linear_regression", rows=(2, 8))
    >>> task.latents.labels()[:2], real_latents(task)[:2].tolist()
    (['sigma', 'weights[0]'], [False, True])
    """
    sizes = {n: prod(s) for n, s in task.latents.unconstrained.items()}
    return np.concatenate([np.full(sizes[n], _is_real(task, n)) for n in task.latents.names])


def _is_real(task: AbstractTask, name: str) -> bool:
    kind: Any = getattr(dist, task.sites[name].distribution, None)
    support: Any = getattr(kind, "support", None)
    while isinstance(support, dist.constraints.independent):
        support = support.base_constraint
    return support is dist.constraints.real


def _light(*_: object) -> Options:
    return LIGHT


@compile_with(_light)
def conditional_draws(
    task: AbstractTask,
    real: tuple[bool, ...],
    plates: Plates | None,
    batches: Batch,
    keys: Array,
    given: tuple[Array, Array, Array, PriorScale],
    draws: int,
) -> Draws:
    """Draws of each dataset, their log density, and the log joint.

    Args:
        task: the task.
        real: which latents are u.
        plates: which of these are in independent parts; None to take all together.
        batches, keys: one of each dataset.
        given: centres (T, P) and lower factors (T, P, P) of earlier draws' moments, a and c, and
            prior units.
        draws: S.

    Returns:
        (T, S, P), (T, S) and (T, S).
    """
    centres, factors, (share, width), scale = given
    inner, outer = np.flatnonzero(real), np.flatnonzero(~np.array(real))
    columns = len(plates.directions) if plates else len(inner)
    size = max(1, TOGETHER // (batches.mask.shape[-1] * columns))
    level, units = scale.centre[inner], scale.scale[inner]
    prior = dist.MultivariateStudentT(FREEDOM, scale.centre[outer], jnp.diag(scale.scale[outer]))

    def one(batch: Batch, key: Array, centre: Array, factor: Array) -> Draws:
        covariance = factor @ factor.T
        of_h = jnp.linalg.cholesky(covariance[np.ix_(outer, outer)])
        across = cho_solve((of_h, True), covariance[np.ix_(outer, inner)]).T
        near = dist.MultivariateStudentT(FREEDOM, centre[outer], of_h)
        h, log_of_h = draw_mixture(jr.fold_in(key, 0), (near, prior), share, draws)
        noise = jr.normal(jr.fold_in(key, 1), (draws, len(inner)))

        def draw(pair: tuple[Array, Array]) -> tuple[Array, Array, Array]:
            h, z = pair
            vector = lambda v: centre.at[outer].set(h).at[inner].set(level + units * v)  # noqa: E731
            density = lambda v: task.log_joint(vector(v), batch)  # noqa: E731
            start = (centre[inner] + across @ (h - centre[outer]) - level) / units
            mode, precision = conditional_mode(density, start, plates)
            v = mode + width * precision.spread(z)
            of_z = -0.5 * (jnp.sum(z**2) - precision.log_det())
            log_scale = 0.5 * jnp.log(2 * jnp.pi) + jnp.log(width) + jnp.log(units)
            return vector(v), of_z - jnp.sum(log_scale), density(v)

        vectors, log_q, joint = batched_map(draw, (h, noise), size)
        return vectors, log_of_h + log_q, joint

    return jax.vmap(one)(batches, keys, centres, factors)


def draw_mixture(
    key: Array, parts: tuple[dist.Distribution, dist.Distribution], share: Array, draws: int
) -> tuple[Array, Array]:
    """Draws of a mixture of two distributions, a share of the second, and their log density."""
    one, other = (p.sample(jr.fold_in(key, i), (draws,)) for i, p in enumerate(parts))
    second = jr.uniform(jr.fold_in(key, 2), (draws, 1)) < share
    drawn = jnp.where(second, other, one)
    heights = [
        jnp.log(w) + p.log_prob(drawn) for w, p in zip((1 - share, share), parts, strict=True)
    ]
    return drawn, jnp.logaddexp(*heights)


class _Climb(NamedTuple):
    """Where Newton's method is, -Hessian there or one step before, the gradient there, and how many
    steps were made."""

    at: Array
    gradient: Array
    precision: Spectrum | Arrow
    steps: Array


def conditional_mode(
    density: Callable[[Array], Array], start: Array, plates: Plates | None = None
) -> tuple[Array, Spectrum | Arrow]:
    """The mode of a log density in prior units by Newton's method, and -Hessian near it.

    A step ends the climb where the next one, by the same curvature, would be shorter than `NEAR`
    conditional sds: the gradient costs little beside the Hessian, of which a Gaussian needs one.
    """

    def differentiate(at: Array) -> tuple[Array, Spectrum | Arrow]:
        if plates is not None:
            return gradient_and_arrow(density, plates, at, LEAST)
        gradient, matrix = gradient_and_curvature(density, at)
        return jnp.nan_to_num(gradient), clipped_eigh(jnp.nan_to_num(matrix), LEAST, jnp.inf)

    def is_far(climb: _Climb) -> Array:
        remains = jnp.sum(climb.gradient * climb.precision.solve(climb.gradient)) > NEAR**2
        return (climb.steps == 0) | (remains & (climb.steps < STEPS))

    def climb(last: _Climb) -> _Climb:
        gradient, precision = differentiate(last.at)
        at = last.at + clip_norm(precision.solve(gradient), LONGEST)
        return _Climb(at, jnp.nan_to_num(jax.grad(density)(at)), precision, last.steps + 1)

    nowhere = Arrow.identity(plates) if plates else Spectrum.identity(len(start))
    last = jax.lax.while_loop(is_far, climb, _Climb(start, 0 * start, nowhere, jnp.zeros((), int)))
    return last.at, last.precision
