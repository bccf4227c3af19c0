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
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Bool

from amortppl.errors import ModelError
from amortppl.gaussian.arrow import Arrow, gradient_and_arrow
from amortppl.gaussian.class_detection import real_latents
from amortppl.gaussian.conditional_mode import STEPS, conditional_mode
from amortppl.gaussian.frame import Spectrum, clipped_eigh
from amortppl.gaussian.log_density import Densities
from amortppl.gaussian.newton import gradient_and_curvature
from amortppl.gaussian.plate_detection import widest_plate
from amortppl.gaussian.plates import Plates
from amortppl.gaussian.scales_first import Effects
from amortppl.gaussian.touched import Classes
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
    probabilities,
    resample_draws,
)

ROUNDS = ((0.5, 1.0), (0.2, 1.0), (0.1, 1.0), (0.1, 1.15), (0.1, 1.15))
"""a and c of each round: a share of h from the prior, since the draws before may be nowhere near;
at last u wider than the curvature at the mode, for tails that are.
"""

LEAST = 0.9
"""Least curvature in prior units. The prior's own is 1, but for the error of these units; in 32
bits it would be lost beside the likelihood's where there are more columns than rows.
"""

POOL, WORK, ARROW, CROSSED = 2, 1_000_000_000, 4, 8
"""Importance draws for each draw wanted; draws x Newton steps x (rows x u + u^3), up to which the
rung is climbed; and how many times that where the precision of u is an arrow, and where rows depend
on few of u.
"""

FACTOR = 1000
"""Multiplications of a Cholesky factor that take as long as one derivative of a row."""

TOGETHER = 4_000_000
"""Rows times u times draws that are differentiated at once, or numbers of precision matrices."""


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
    classes, plates = (getattr(run.guide.method, n, None) for n in ("classes", "plates"))
    kind = classes or plates_among(task, plates, real)
    rows = batch.mask.shape[-1] * task.evaluations({n: v[0] for n, v in batch.data.items()})
    count = _affordable(run.draws, rows, int(real.sum()), kind)
    best = [(a.vectors, a.log_weights) for a in (run.best[i] for i in places)]
    attempts: list[Attempt | None] = [None] * len(places)
    for number, shape in enumerate(ROUNDS[1:] if classes else ROUNDS):
        moments = [moments_of_bounded(*draws, ~real) for draws in best]
        arrays = [pad_arrays([m[k] for m in moments]) for k in range(3)]
        given = (*arrays, jnp.array(shape, jnp.float32), scale)
        draws = conditional_draws(
            task, tuple(real.tolist()), kind, batch, fold_keys(keys, number), given, count
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


def _affordable(draws: int, rows: int, inner: int, kind: Plates | Classes | None) -> int:
    """Importance draws for so many wanted: `POOL` times as many, or what `WORK` allows.

    Args:
        draws: wanted.
        rows: densities of rows that one log likelihood takes, all nodes of a quadrature among them.
        inner: how many u there are.
        kind: as of `conditional_draws`.

    Raises:
        ModelError: it allows fewer than are wanted, or than 1,000.
    """
    columns, algebra, most_work = inner, inner**3, WORK
    # No other rung is as good for so many effects
    if isinstance(kind, Classes):
        outer = len(kind.plates.outer)
        most = outer if kind.is_sparse else inner
        columns, algebra = kind.products, most * outer**2 // FACTOR
        most_work = CROSSED * WORK
    elif kind is not None:
        most, outer = kind.most, len(kind.outer)
        columns, algebra = most + outer, inner * (most**2 + outer**2)
        most_work = ARROW * WORK
    work = STEPS * (columns * rows + algebra)
    count = min(max(POOL * draws, 1000), most_work // work)
    if count < max(draws, 1000):
        needed = max(draws, 1000) * work
        raise ModelError(f"too much work: {needed:.1g} derivatives, {most_work:.1g} at most")
    return count


def moments_of_bounded(
    vectors: np.ndarray, log_weights: np.ndarray, bounded: Bool[np.ndarray, " P"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of draws (S, P), a factor of the covariance of the bounded latents h, and the regression
    of the others on these: (P,), (H, H) and (P - H, H).

    With an effective number of draws below 10 H, all are mixed with those of draws without weights:
    weights in many latents may be those of one draw.
    """
    weights, count = probabilities(log_weights), int(bounded.sum())
    share = min(1.0, 1 / np.sum(weights**2) / (10.0 * count))
    weights = share * weights + (1 - share) / len(weights)
    centre = weights @ vectors
    h, u = vectors[:, bounded] - centre[bounded], vectors[:, ~bounded] - centre[~bounded]
    covariance = (h * weights[:, None]).T @ h
    scale = np.sqrt(np.diag(covariance)) + 1e-9
    values, axes = np.linalg.eigh(covariance / np.outer(scale, scale))
    of_h = np.linalg.cholesky((axes * np.maximum(values, 1e-6)) @ axes.T) * scale[:, None]
    across = np.linalg.solve(of_h @ of_h.T, (h * weights[:, None]).T @ u).T
    return centre, of_h, across


def _light(*_: object) -> Options:
    return LIGHT


@compile_with(_light)
def conditional_draws(
    task: AbstractTask,
    real: tuple[bool, ...],
    kind: Plates | Classes | None,
    batches: Batch,
    keys: Array,
    given: tuple[Array, Array, Array, Array, PriorScale],
    draws: int,
) -> Draws:
    """Draws of each dataset, their log density, and the log joint.

    Args:
        task: the task.
        real: which latents are u.
        kind: which of these are in independent parts, or which the rows depend on; None to take all
            together.
        batches, keys: one of each dataset.
        given: what `moments_of_bounded` says of earlier draws, (T, P), (T, H, H) and (T, P - H, H),
            a and c, and prior units.
        draws: S.

    Returns:
        (T, S, P), (T, S) and (T, S).
    """
    centres, factors, slopes, (share, width), scale = given
    inner, outer = np.flatnonzero(real), np.flatnonzero(~np.array(real))
    rows = batches.mask.shape[-1] * task.evaluations({n: v[0] for n, v in batches.data.items()})
    size = max(1, TOGETHER // _numbers(kind, rows, len(inner)))
    level, units = scale.centre[inner], scale.scale[inner]
    prior = dist.MultivariateStudentT(FREEDOM, scale.centre[outer], jnp.diag(scale.scale[outer]))

    def one(batch: Batch, key: Array, centre: Array, of_h: Array, across: Array) -> Draws:
        near = dist.MultivariateStudentT(FREEDOM, centre[outer], of_h)
        h, log_of_h = draw_mixture(jr.fold_in(key, 0), (near, prior), share, draws)
        noise = jr.normal(jr.fold_in(key, 1), (draws, len(inner)))
        climb = _climbing(Densities(task, scale, False), real, kind, batch, centre)

        def draw(pair: tuple[Array, Array]) -> tuple[Array, Array, Array]:
            h, z = pair
            vector = lambda v: centre.at[outer].set(h).at[inner].set(level + units * v)  # noqa: E731
            density = lambda v: task.log_joint(vector(v), batch)  # noqa: E731
            start = (centre[inner] + across @ (h - centre[outer]) - level) / units
            mode, precision = climb(density, h, start)
            v = mode + width * precision.spread(z)
            of_z = -0.5 * (jnp.sum(z**2) - precision.log_det())
            log_scale = 0.5 * jnp.log(2 * jnp.pi) + jnp.log(width) + jnp.log(units)
            return vector(v), of_z - jnp.sum(log_scale), density(v)

        vectors, log_q, joint = batched_map(draw, (h, noise), size)
        return vectors, log_of_h + log_q, joint

    return jax.vmap(one)(batches, keys, centres, factors, slopes)


def _numbers(kind: Plates | Classes | None, rows: int, inner: int) -> int:
    """Numbers that one draw takes."""
    if isinstance(kind, Classes):
        alone = TOGETHER if kind.is_sparse else 0
        return max(rows * kind.products, inner * len(kind.plates.outer), alone)
    return rows * (len(kind.directions) if kind else inner)


def _climbing(
    log: Densities, real: tuple[bool, ...], kind: Plates | Classes | None, batch: Batch, near: Array
) -> Callable[[Callable[[Array], Array], Array, Array], tuple[Array, Any]]:
    """The search for the mode of a density of u, given h and a start."""
    if isinstance(kind, Classes):
        standard = log.scale.standardize(near)
        effects = Effects.find(log, real, kind, batch, standard)
        outer = np.flatnonzero(~np.array(real))
        units = PriorScale(log.scale.centre[outer], log.scale.scale[outer])
        return lambda _, h, start: effects.mode(units.standardize(h), start, STEPS)

    def differentiate(density: Callable[[Array], Array], at: Array) -> tuple[Array, Any]:
        if kind is not None:
            return gradient_and_arrow(density, kind, at, LEAST)
        gradient, matrix = gradient_and_curvature(density, at)
        return jnp.nan_to_num(gradient), clipped_eigh(jnp.nan_to_num(matrix), LEAST, jnp.inf)

    def climb(density: Callable[[Array], Array], _: Array, start: Array) -> tuple[Array, Any]:
        nowhere = Arrow.identity(kind) if kind else Spectrum.identity(len(start))
        own = lambda at: differentiate(density, at)  # noqa: E731
        return conditional_mode(density, start, own, nowhere)

    return climb


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
