"""Predictive families: they integrate to one, and draws follow the density."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import amortppl as ap
from amortppl.errors import ModelError
from amortppl.predictive.binned import Bars
from amortppl.predictive.categorical import Categories
from amortppl.predictive.components import components
from amortppl.predictive.head import Head, Predictive
from amortppl.predictive.negative_binomial import Counts
from amortppl.predictive.predictor import like
from amortppl.predictive.preprocessing import reader
from amortppl.runtime.numpy_evaluation import construct
from conjugate import shaken


def several(x, real=None, positive=None, share=None, count=None, label=None):
    """One observed site of every kind of support."""
    level = numpyro.sample("level", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("real", dist.Normal(level + x, 1), obs=real)
        numpyro.sample("positive", dist.LogNormal(level + x, 0.5), obs=positive)
        numpyro.sample("share", dist.Beta(2.0, jnp.exp(level) * jnp.ones_like(x)), obs=share)
        numpyro.sample(
            "count", dist.Poisson(jnp.exp(1 + 0.5 * level) * jnp.ones_like(x)), obs=count
        )
        numpyro.sample(
            "label", dist.Categorical(logits=jnp.stack([x, level + 0 * x, -x], -1)), obs=label
        )


@pytest.fixture(scope="module")
def task():
    return ap.Task(several, {"x": dist.Normal(0, 1)}, rows=(4, 8))


def coefficients(family):
    start = family.initial()
    return start + 0.7 * jr.normal(jr.key(3), start.shape)


def test_bars_start_as_a_gaussian_and_integrate_to_one():
    bars = Bars()
    grid = jnp.linspace(-60.0, 60.0, 240_001)
    density = jnp.exp(jax.vmap(lambda v: bars.log_prob(v, coefficients(bars)))(grid))
    assert abs(float(jnp.sum(density)) * 120 / 240_000 - 1) < 1e-3
    start = jax.vmap(lambda v: bars.log_prob(v, bars.initial()))(jnp.array([-2.0, 0.0, 1.0]))
    np.testing.assert_allclose(
        start, stats.norm.logpdf([-2, 0, 1]), atol=3e-3
    )  # a 400th in the wide tail


def test_draws_of_bars_follow_their_density():
    """Kolmogorov-Smirnov distance of 20,000 draws; a correct program exceeds 0.0147 once in 3,000
    seeds.
    """
    bars, own = Bars(), coefficients(Bars())
    draws = np.sort(jax.vmap(lambda k: bars.sample(k, own))(jr.split(jr.key(0), 20_000)))
    grid = np.linspace(-60, 60, 240_001)
    density = np.exp(jax.vmap(lambda v: bars.log_prob(v, own))(jnp.asarray(grid, jnp.float32)))
    level = np.interp(draws, grid, np.cumsum(density) * 120 / 240_000)
    assert np.max(np.abs(level - (np.arange(20_000) + 0.5) / 20_000)) < 0.0147


def test_counts_sum_to_one():
    counts = Counts()
    mass = jax.vmap(lambda v: counts.log_prob(v, coefficients(counts), jnp.asarray(3.0)))(
        jnp.arange(3000.0)
    )
    assert abs(float(jnp.sum(jnp.exp(mass))) - 1) < 1e-3


@pytest.mark.parametrize("family", [Categories(5), Counts()], ids=["categories", "counts"])
def test_draws_of_whole_numbers_follow_their_density(family):
    """Chi square of 20,000 draws, the rare values together; a correct program fails for one seed in
    3,000.
    """
    given = (
        (coefficients(family),)
        if isinstance(family, Categories)
        else (coefficients(family), jnp.asarray(3.0))
    )
    draws = np.asarray(
        jax.vmap(lambda k: family.sample(k, *given))(jr.split(jr.key(0), 20_000))
    ).astype(int)
    values = jnp.arange(5.0 if isinstance(family, Categories) else 3000.0)
    expected = 20_000 * np.exp(jax.vmap(lambda v: family.log_prob(v, *given))(values).astype(float))
    counts = np.bincount(draws, minlength=len(values))[: len(values)]
    often = expected > 20
    counts, expected = (np.append(a[often], 20_000 - a[often].sum()) for a in (counts, expected))
    distance = np.sum((counts - expected) ** 2 / np.maximum(expected, 1.0))
    assert distance < stats.chi2.isf(1 / 3000, len(expected) - 1)


@pytest.mark.slow
def test_draws_come_from_all_members(predictive):
    """Kolmogorov-Smirnov distance of 4000 draws of the first component; exceeds 0.033 once in 3,000
    seeds a query.
    """
    read, bars = predictive.reader, Bars()
    draws = predictive.sample(jr.key(6), 4000)[read.parts[0].argument]
    grid = jnp.linspace(-60.0, 60.0, 60_001)
    own = jax.vmap(predictive.head.first)(predictive.features)  # (members, queries, coefficients)
    for query in range(2):
        each = [jnp.exp(jax.vmap(lambda v, c=c: bars.log_prob(v, c))(grid)) for c in own[:, query]]
        level = np.cumsum(np.mean(each, 0)) * 120 / 60_000
        levels = np.sort(np.interp(read._standard(0, draws[:, query]), grid, level))
        assert np.max(np.abs(levels - (np.arange(4000) + 0.5) / 4000)) < 0.033


def test_kinds_follow_supports(task):
    assert {c.argument: c.kind for c in components(task)} == {
        "real": "real",
        "positive": "above",
        "share": "between",
        "count": "count",
        "label": "finite",
    }
    with pytest.raises(ModelError, match="one block"):
        components(ap.model("eight_schools"))


@pytest.fixture(scope="module")
def predictive(task):
    """A head with random weights on two queries."""
    read = reader(task, jr.key(0))
    head = shaken(construct(lambda: Head(3, read, 8, jr.key(1))), 0.1)
    return Predictive(head, read, jr.normal(jr.key(2), (2, 2, 3)), like(task.rows_like))


@pytest.mark.slow
def test_draws_are_in_the_support_and_of_the_types_of_the_data(task, predictive):
    drawn = predictive.sample(jr.key(4), 200)
    for name, values in drawn.items():
        assert values.shape == (200, 2) and values.dtype == task.rows_like[name].dtype
        assert np.isfinite(np.asarray(values, float)).all()
    assert (drawn["positive"] > 0).all() and ((drawn["share"] > 0) & (drawn["share"] < 1)).all()
    assert set(np.unique(drawn["label"])) <= {0, 1, 2} and (drawn["count"] >= 0).all()


@pytest.mark.slow
def test_joint_density_integrates_to_one_in_the_units_of_the_data(predictive):
    """Importance weights of a broad joint proposal have mean one: 40,000 draws, checked to five
    standard errors.
    """
    size, keys = 40_000, jr.split(jr.key(5), 5)
    parts = {
        "real": dist.StudentT(3.0, 0.0, 3.0),
        "positive": dist.TransformedDistribution(
            dist.StudentT(3.0, 0.0, 2.0), dist.transforms.ExpTransform()
        ),
        "share": dist.Beta(0.7, 0.7),
        "count": dist.NegativeBinomial2(5.0, 0.7),
        "label": dist.Categorical(jnp.ones(3) / 3),
    }
    drawn = {n: d.sample(k, (size,)) for (n, d), k in zip(parts.items(), keys, strict=True)}
    drawn |= {
        "positive": jnp.clip(drawn["positive"], 1e-30, 1e30),
        "share": jnp.clip(drawn["share"], 1e-6, 1 - 1e-6),
    }
    away = sum(parts[n].log_prob(v) for n, v in drawn.items())
    density = jax.jit(
        jax.vmap(lambda row: predictive.log_prob({n: jnp.stack([v, v]) for n, v in row.items()}))
    )(drawn)
    weight = np.exp(np.asarray(density - away[:, None], np.float64))
    error = weight.std(0) / size**0.5
    assert (np.abs(weight.mean(0) - 1) < 5 * error).all() and (error < 0.1).all()
