"""Hessians of rows that depend on few latents, beside all second derivatives."""

import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.catalogue import module
from amortppl.fit.counted_groups import count_groups
from amortppl.fit.data_task import task_of_data
from amortppl.gaussian import row_pairs
from amortppl.gaussian.cholesky_precision import CholeskyPrecision
from amortppl.gaussian.class_detection import classes_of, real_latents
from amortppl.gaussian.log_density import Densities
from amortppl.gaussian.plates import split_plates
from amortppl.gaussian.scales_first import Effects
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale
from crossed_moments import crossed_data

DATA = crossed_data(5, 4, 24, outcome="yes or no")


def effects(name, number, scale):
    with numpyro.plate(f"{name}s", number):
        return numpyro.sample(name, dist.Normal(0, scale))


def crossed(x, subject, item, n_subject, n_item, y=None):
    """Intercepts and slopes by subject, correlated, and intercepts by item."""
    sd = numpyro.sample("sd", dist.HalfNormal(1).expand([2]).to_event(1))
    level = numpyro.sample("level", dist.Normal(0, 1))
    with numpyro.plate("subjects", n_subject):
        factor = jnp.array([[1.0, 0.0], [0.6, 0.8]])
        own = numpyro.sample("own", dist.MultivariateNormal(0, scale_tril=sd[0] * factor))
    of_item = effects("of_item", n_item, sd[1])
    with numpyro.plate("row", x.shape[0]):
        logits = level + own[subject, 0] + own[subject, 1] * x + of_item[item] ** 2
        numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)


def two_of_a_class(x, subject, item, n_subject, n_item, y=None):
    """Every row depends on two subjects."""
    sd = numpyro.sample("sd", dist.HalfNormal(1))
    of_subject, of_item = effects("a", n_subject, sd), effects("b", n_item, 1.0)
    with numpyro.plate("row", x.shape[0]):
        logits = of_subject[subject] - of_subject[(subject + 1) % n_subject] + of_item[item]
        numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)


def tied_by_the_prior(x, subject, item, n_subject, n_item, y=None):
    """The items' mean is an effect of the first subject."""
    sd = numpyro.sample("sd", dist.HalfNormal(1))
    of_subject = effects("a", n_subject, sd)
    with numpyro.plate("items", n_item):
        of_item = numpyro.sample("b", dist.Normal(of_subject[0], 1.0))
    with numpyro.plate("row", x.shape[0]):
        logits = of_subject[subject] + of_item[item]
        numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)


def task_of(model, data=DATA):
    arguments = inspect.signature(model).parameters
    data = count_groups(arguments, [data], {}).datasets
    return task_of_data(model, data), data[0]


@pytest.mark.slow
def test_the_hessian_is_that_of_all_second_derivatives():
    task, data = task_of(crossed)
    classes, real = classes_of(task), tuple(real_latents(task).tolist())
    assert classes.count == 3 and len(classes.shared) == 1
    arrays = {n: jnp.asarray(data[n]) for n in task.arguments}
    batch = Batch(arrays, jnp.arange(24) < 21)
    at = jr.normal(jr.key(0), (task.latents.size,))
    h, u = split_plates(at, real)

    @jax.jit  # one program, not one for each primitive
    def derivatives(at, h, u):
        log = Densities(task, PriorScale(0 * at, 0 * at + 1.0), False)
        found = Effects.find(log, real, classes, batch, 0.5 * at)
        whole = jax.grad(found.joint, 1)(h, u), -jax.hessian(found.joint, 1)(h, u)
        return classes.precision(found.split(h), u, found.rows), whole

    (gradient, (of_g, across, of_d), pairs), (wanted, expected) = derivatives(at, h, u)
    plates = classes.plates
    assert plates.most == 2 and len(plates.outer) == 5 and pairs is None
    precision = np.zeros((len(u), len(u)))
    precision[np.ix_(plates.outer, plates.outer)] = of_g
    precision[np.ix_(plates.outer, plates.inner)] = across
    precision[np.ix_(plates.inner, plates.outer)] = across.T
    precision[np.ix_(plates.inner, plates.inner)] = plates.dense(of_d)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(precision, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pair", [0, 10**9])
def test_moments_given_scales_are_those_of_a_dense_matrix(pair, monkeypatch):
    """By pairs of rows, and by a dense product: means, variances and determinant of 6 subjects and
    5 items, a level and a slope, beside NumPy's inverse of all second derivatives.
    """
    monkeypatch.setattr(row_pairs, "DENSE", 0)
    monkeypatch.setattr(row_pairs, "PAIR", pair)
    task, data = task_of(module("models", "crossed").model, crossed_data(6, 5, 40))
    classes, real = classes_of(task), tuple(real_latents(task).tolist())
    batch = Batch({n: jnp.asarray(data[n]) for n in task.arguments}, jnp.arange(40) < 37)

    @jax.jit
    def moments(h):
        units = PriorScale(jnp.zeros(16), jnp.ones(16))
        found = Effects.find(Densities(task, units, False), real, classes, batch, jnp.zeros(16))
        mode, arrow = found.mode(h, jnp.zeros(13), 10)
        whole = jax.hessian(found.joint, 1)(h, mode), jax.grad(found.joint, 1)(h, 0 * mode)
        inverse = jax.vmap(arrow.solve)(jnp.eye(13))
        return mode, inverse, arrow.log_det(), arrow.squared(jnp.arange(13.0)), *whole

    found = [np.asarray(a, float) for a in moments(jnp.array([-0.5, 0.3, -1.0]))]
    mode, inverse, log_det, squared, hessian, slope = found
    exact = np.linalg.inv(-hessian)
    sd = np.sqrt(np.diag(exact))
    np.testing.assert_allclose((mode - exact @ slope) / sd, np.zeros(13), atol=1e-4)
    np.testing.assert_allclose(inverse / np.outer(sd, sd), exact / np.outer(sd, sd), atol=1e-4)
    assert log_det == pytest.approx(np.linalg.slogdet(-hessian)[1], abs=1e-4)
    assert squared == pytest.approx(np.arange(13) @ -hessian @ np.arange(13), rel=1e-4)


@pytest.mark.parametrize("model", [two_of_a_class, tied_by_the_prior])
def test_no_classes_where_one_number_depends_on_two_of_a_class(model):
    assert classes_of(task_of(model)[0]) is None


def test_no_classes_without_scales_or_plates():
    assert classes_of(ap.model("gaussian_mean", rows=(8, 16))) is None


def test_a_matrix_that_is_not_positive_definite_is_shifted_until_it_is():
    matrix = jnp.array([[1.0, 2.0], [2.0, 1.0]])
    factor = np.asarray(CholeskyPrecision.of(matrix).factor, float)
    added = factor @ factor.T - np.asarray(matrix)
    assert added[0, 1] == pytest.approx(0, abs=1e-6)
    assert np.diag(added) == pytest.approx(added[0, 0]) and 0.99 < added[0, 0] <= 10
