"""Laws that every model in models/ must pass; a new file is found and tested without being named
here.
"""

import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpyro.infer.util import log_density

from amortppl import catalogue
from amortppl.pyro import from_pyro, is_pyro
from amortppl.task.batch import Batch
from amortppl.task.enumeration import Marginal
from amortppl.task.task import Task


def test_there_are_models():
    assert len(catalogue.names("models")) >= 9


def test_file_says_what_it_is(each):
    assert inspect.getdoc(each.file).split("\n\n")[0].endswith(".")
    assert each.file.model.__doc__


def test_simulates_under_jit_and_vmap(each):
    keys = jnp.concatenate([jr.key(7)[None], jr.split(jr.key(1), 63)])
    one = each.draw
    many = jax.jit(jax.vmap(lambda key: each.task.simulate(key, len(each.mask))))(keys)
    for batched, single in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
        assert np.isfinite(batched).all()
        assert batched.shape == (64, *single.shape)
        np.testing.assert_allclose(batched[0], single, rtol=1e-5, atol=1e-6)
        varied = np.ptp(np.asarray(batched, np.float64), axis=0)
        assert varied.max(initial=0.0) > 0 or not varied.size or _constant(each, single)


def _constant(each, values) -> bool:
    """Whether these are an input that the task holds fixed."""
    return any(np.array_equal(values, each.draw.data[name]) for name in each.task.inputs)


def test_log_joint_is_numpyros_plus_log_jacobian(each):
    """The Jacobian is the determinant of the derivative of `constrain`, taken by autodiff."""
    if each.task.local:
        pytest.skip(
            "NumPyro's joint density has the local latents not integrated out: see test_local.py"
        )
    task, (vector, data) = each.task, each.draw
    value = each.score(each.points, Batch(data, each.mask))[0][0]

    def latents(at):
        sites = task.constrain(at, data)
        free = [
            sites[n][..., :-1] if task.sites[n].support == "Simplex" else sites[n]
            for n in task.latents.names
        ]
        return jnp.concatenate([jnp.zeros(0), *map(jnp.ravel, free)])

    @jax.jit
    def reference(at):
        sites = {name: task.constrain(at, data)[name] for name in task.latents.names}
        given = {name: values[0] if task.block else values for name, values in data.items()}
        given |= task.constants | ({task.count: len(each.mask)} if task.count else {})
        return (
            log_density(each.task.model, (), given, sites)[0]
            + jnp.linalg.slogdet(jax.jacobian(latents)(at))[1]
        )

    np.testing.assert_allclose(value, reference(vector), rtol=1e-5, atol=1e-4)


def test_gradient_is_finite_and_that_of_the_function(each):
    """Against central differences along three directions, in units of the gradient's length.

    The step 1e-3 in float32 leaves an error of about 1e-7 |log joint| / 1e-3.
    """
    values, gradients = each.score(each.points, Batch(each.draw.data, each.mask))
    gradient = np.asarray(gradients[0])
    assert np.isfinite(gradients).all()
    noise = 1e-3 * max(1.0, abs(float(values[0])))
    slopes = np.asarray(values[1:4] - values[4:]) / (2 * each.step)
    error = np.abs(slopes - each.directions @ gradient)
    assert (error < noise + 0.01 * np.linalg.norm(gradient)).all()


def test_constrain_and_back(each):
    task, (vector, data) = each.task, each.draw

    @jax.jit
    def there_and_back(vector):
        sites = task.constrain(vector, data)
        sites = {name: sites[name] for name in task.latents.names}
        return sites, task.unconstrain(sites, data)

    sites, back = there_and_back(vector)
    assert {name: values.shape for name, values in sites.items()} == task.latents.shapes
    np.testing.assert_allclose(back, vector, rtol=1e-4, atol=1e-4)


def test_traced_once(each):
    """Fresh draws, datasets and masks of a known shape run the Python code of the model no more."""
    runs = []

    def counted(*args, **kwargs):
        runs.append(1)
        return each.file.model(*args, **kwargs)

    whole = each.file.model if each.task.grouping else each.task.model
    counted.__signature__ = inspect.signature(whole)
    task = Task(from_pyro(counted) if is_pyro(each.file.model) else counted, **each.file.TASK)
    simulate, joint = jax.jit(task.simulate, static_argnums=1), jax.jit(task.log_joint)

    def runs_for(seed: int) -> int:
        before, rows = len(runs), len(each.mask)
        draw = jax.eval_shape(lambda key: simulate(key, rows), jr.key(seed))
        jax.eval_shape(joint, draw.latents, Batch(draw.data, jnp.arange(rows) <= seed))
        return len(runs) - before

    first, *later = [runs_for(seed) for seed in range(3)]
    assert later == [0, 0]
    assert first == 2 or isinstance(task.model, Marginal)  # one run to simulate and one to score


def test_order_of_rows_changes_nothing(each):
    if each.task.block:
        pytest.skip("entries of a block are not exchangeable")
    order = jr.permutation(jr.key(2), len(each.mask))
    mask = jnp.arange(len(each.mask)) % 3 > 0
    permuted = {name: values[order] for name, values in each.draw.data.items()}
    densities = jax.jit(each.task.log_densities)
    (prior, rows), (prior_permuted, rows_permuted) = (
        densities(each.draw.latents, d) for d in (each.draw.data, permuted)
    )
    np.testing.assert_allclose(prior_permuted, prior, rtol=1e-6)
    if (
        each.task.tied
    ):  # each row's density is given those before it; only all together do not change
        np.testing.assert_allclose(rows_permuted.sum(), rows.sum(), rtol=1e-4, atol=1e-3)
        return
    np.testing.assert_allclose(rows_permuted, rows[order], rtol=1e-5, atol=1e-5)
    was, now = (
        each.score(each.points, Batch(each.draw.data, mask))[0],
        each.score(each.points, Batch(permuted, mask[order]))[0],
    )
    np.testing.assert_allclose(now, was, rtol=1e-5, atol=1e-4)
