"""The text of a program does not grow with the number of groups, and so neither does compiling."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.posterior.draws import sample, states
from amortppl.task.batch import Batch
from amortppl.trust.discrepancies import Moments
from amortppl.trust.discrepancy_programs import discrepancies_of

MORE = 1.02
"""Largest ratio of operations for 24 groups to those for 6: a few shapes are dealt with apart."""


def levels(groups):
    """A level a group, groups + 2 latents."""

    def model(group, y=None):
        mean = numpyro.sample("mean", dist.Normal(0, 1))
        sd = numpyro.sample("sd", dist.HalfNormal(1))
        with numpyro.plate("groups", groups):
            z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("row", group.shape[0]):
            numpyro.sample("y", dist.Normal(mean + sd * z[group], 1.0), obs=y)

    return ap.Task(model, {"group": dist.Categorical(logits=jnp.zeros(groups))}, rows=(40, 64))


def blank(like):
    """Zeros in the place of a shape."""
    return np.zeros(like.shape, like.dtype) if hasattr(like, "shape") else like


def operations(program, *arguments):
    """Operations and calls in the text of a program, and its result with zeros for numbers."""
    lowered = eqx.filter_jit(program.function).lower(*arguments)
    result = jax.tree.map(blank, lowered.postprocess(lowered.lowered.out_info))
    return len(re.findall(r"(stablehlo\.\w+|call @)", lowered.lowered.as_text())), result


def sizes(groups):
    """Operations of the programs that infer one dataset."""
    task = levels(groups)
    built = eqx.filter_eval_shape(ap.method("parametric").build, task, jr.key(0))
    method = jax.tree.map(blank, built)
    rows = {n: np.zeros((1, 64, *s.shape[1:]), s.dtype) for n, s in task.rows_like.items()}
    batch, keys = Batch(rows, np.ones((1, 64), bool)), jr.split(jr.key(0), 1)
    moments = Moments(np.zeros(1, np.float32), np.ones(1, np.float32))
    of_states, state = operations(states, method, batch)
    of_sample, drawn = operations(sample, method, state, batch, keys, 100, 1000)
    asked = (batch, drawn.vectors[:, :50], jr.split(jr.key(0), (1, 50)), moments)
    of_discrepancies, _ = operations(discrepancies_of, method, *asked)
    return {"states": of_states, "sample": of_sample, "discrepancies": of_discrepancies}


@pytest.fixture(scope="module")
def few_and_many():
    return sizes(6), sizes(24)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["states", "sample", "discrepancies"])
def test_a_program_does_not_grow_with_the_groups(few_and_many, program):
    few, many = (each[program] for each in few_and_many)
    assert many <= MORE * few, f"{few} operations for 6 groups, {many} for 24"
