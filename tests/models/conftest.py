"""Every model of the package, simulated once."""

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

from amortppl import catalogue
from amortppl.task.batch import Draw
from amortppl.task.task import Task

ROWS = 12


class Member(NamedTuple):
    """A model's file, its task, and one dataset simulated from it (a block has one row).

    `points` are the latents of that dataset and six others, a step to either side along three
    directions; `score` gives the log joint densities of that many latents and their gradients.
    """

    name: str
    file: ModuleType
    task: Task
    draw: Draw
    mask: jax.Array
    points: jax.Array
    directions: jax.Array
    step: float
    score: Callable


STEP = 1e-3


@cache
def member(name: str) -> Member:
    task = catalogue.model(name)
    rows = 1 if task.block else ROWS
    draw = jax.jit(task.simulate, static_argnums=1)(jr.key(7), rows)
    directions = jr.normal(jr.key(3), (3, *draw.latents.shape))
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    steps = STEP * jnp.concatenate([jnp.zeros_like(directions[:1]), directions, -directions])
    score = jax.jit(jax.vmap(jax.value_and_grad(task.log_joint), (0, None)))
    return Member(
        name,
        catalogue.module("models", name),
        task,
        draw,
        jnp.ones(rows, bool),
        draw.latents + steps,
        directions,
        STEP,
        score,
    )


def a_model(name: str) -> bool:
    """Whether a file holds a model, and neither episodes of data nor a simulator; a Pyro model is
    not run to see.
    """
    return name.endswith("_pyro") or hasattr(catalogue.module("models", name), "model")


STANDS_FOR = ("hierarchical_logistic", "radon", "sleep_study", "crossed")
"""Models of groups that stand for the others: one effect, values of groups, correlated effects, and
two groupings."""


LIKE_OTHERS = (
    "gaussian_process",
    "mixture_2d",
    "negative_binomial_regression",
    "overdispersed_poisson",
    "robust_regression",
)
"""Models that take long to compile and differ little from others that are quick."""


def params() -> list:
    """Models by name; those of groups take long to compile, and few of them stand for all."""
    chosen = []
    for name in filter(a_model, catalogue.names("models")):
        file = None if name.endswith("_pyro") else catalogue.module("models", name)
        grouped = "groups" in getattr(file, "TASK", {})
        if not grouped or name in STANDS_FOR:
            slow = name in LIKE_OTHERS or (grouped and name != STANDS_FOR[0])
            chosen.append(pytest.param(name, marks=pytest.mark.slow) if slow else name)
    return chosen


@pytest.fixture(params=params())
def each(request: pytest.FixtureRequest) -> Member:
    """Each model in turn."""
    if request.param.endswith("_pyro"):
        pytest.importorskip("torch", reason="the extra `pyro` is not installed")
    return member(request.param)
