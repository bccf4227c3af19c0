"""Which latents the rows of a task depend on: the shared ones, and one of each class of others."""

from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array

from amortppl.gaussian.touched import Classes
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.task.abstract import AbstractTask

SAME = 1e-4
"""Largest difference, as a share of the largest slope, that counts as none."""

SCALES = 8
"""Most latents with a bounded support: their marginal is looked at along every pair of axes."""


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


def classes_of(task: AbstractTask) -> Classes | None:
    """Classes of the real latents; None where rows, or the prior given the bounded latents, depend
    on several of a class, or where there are no bounded latents, or too many.

    The effects of one plate are a class, and so are their slopes by one covariate. Whether a row
    depends on one of a class is looked at with simulated rows: its slope along random numbers is
    then that of its own latent times the latent's number.
    """
    real, bounded = real_latents(task), int((~real_latents(task)).sum())
    of = _classes(task)[real]
    if not 0 < bounded <= SCALES or max(of, default=-1) < 0 or task.block or task.local:
        return None
    classes = Classes(tuple(of.tolist()))
    of_rows, of_prior = _look(task, real, classes)
    plated = of >= 0
    if not _single(classes, *of_rows) or not _single(classes, *(a[:, plated] for a in of_prior)):
        return None
    beside = tuple(tuple(map(int, p)) for p in of_prior[0])
    return Classes(classes.of, beside, _largest(classes, of_rows[:2], of_prior[:2]))


def _largest(classes: Classes, of_rows: Any, of_prior: Any) -> tuple[int, ...]:
    """The largest class, and those like it: of every row, and of the prior's connections, their
    latents have the same number as its own, as intercepts and slopes of subjects have.
    """
    number = np.zeros(len(classes.of), int)
    for members in classes.members:
        number[members] = np.arange(len(members))
    largest = int(np.argmax([len(members) for members in classes.members]))

    def alike(a: int, b: int) -> bool:
        (place, slope), (beside, bend) = of_rows, of_prior
        absent = (slope[a] == 0) | (slope[b] == 0)
        members = classes.members[a]
        by_prior = (bend[b, members] == 0) | (number[beside[b, members]] == number[members])
        return bool((absent | (number[place[a]] == number[place[b]])).all() and by_prior.all())

    group = [largest]
    for k, members in enumerate(classes.members):
        same = k != largest and len(members) == len(classes.members[largest])
        if same and all(alike(j, k) and alike(k, j) for j in group):
            group.append(k)
    return tuple(sorted(group))


def _classes(task: AbstractTask) -> np.ndarray:
    """For each latent its class by site, and by its index along axes that are no plates."""
    classes, count = [], 0
    for name in task.latents.names:
        shape, plates = task.latents.unconstrained[name], task.sites[name].plates
        if not plates:
            classes.append(np.full(prod(shape), -1))
            continue
        others = [range(1 if axis in plates else n) for axis, n in enumerate(shape)]
        numbers = {index: count + i for i, index in enumerate(product(*others))}
        count += len(numbers)
        places = np.ndindex(*shape)
        classes.append([numbers[tuple(0 if a in plates else i for a, i in enumerate(p))]
                        for p in places])  # fmt: skip
    return np.concatenate(classes).astype(int)


def _look(task: AbstractTask, real: np.ndarray, classes: Classes) -> tuple[Any, Any]:
    """For rows, and for the prior's gradient: which latent of each class, (K, N), and slopes along
    ones and along random numbers in each class, both (K, N).
    """
    inner, random = np.flatnonzero(real), _numbers(classes)

    def look() -> Any:
        draw = task.simulate(jr.key(3), (task.rows or (1, 1))[1])

        def split(v: Array) -> tuple[Array, Array]:
            return task.log_densities(draw.latents.at[inner].set(v), draw.data)

        def at(f: Any) -> tuple[Array, Array, Array]:
            u = draw.latents[inner]
            slopes = jax.vmap(lambda v: jax.jvp(f, (u,), (v,))[1])
            along = jnp.asarray(classes.indicators)
            return classes.depends(f, u), slopes(along), slopes(along * random)

        return at(lambda v: split(v)[1]), at(jax.grad(lambda v: split(v)[0]))

    return evaluate(look)


def _single(classes: Classes, place: Any, ones: Any, numbers: Any) -> bool:
    """Whether each number depends on one latent of each class, by what `_look` saw."""
    expected = ones * _numbers(classes)[np.asarray(place)]
    most = np.max(np.abs(ones), axis=1, keepdims=True, initial=0.0)
    finite = np.isfinite(ones).all() and np.isfinite(numbers).all()
    return bool(finite and (np.abs(numbers - expected) <= SAME * most).all())


def _numbers(classes: Classes) -> np.ndarray:
    """A random number for each latent."""
    return np.random.default_rng(0).uniform(1.0, 2.0, len(classes.of))
