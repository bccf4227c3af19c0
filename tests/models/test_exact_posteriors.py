"""Exact posteriors of models/ against the one truth that needs no formula: the joint distribution
itself.

If theta ~ p(theta), D ~ p(D | theta), and theta_1..theta_S ~ p(theta | D), then theta,
theta_1..theta_S are exchangeable, so the rank of theta among the others is uniform under every
function of theta and D (Talts et al. 2018, arXiv 1804.06788). The log likelihood as the function
sees what the coordinates do not (Modrak et al. 2023, arXiv 2211.02383).
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpyro.infer.util import log_density
from scipy.stats import chisquare

from amortppl import catalogue

DATASETS, DRAWS = 1000, 99
NUMPYRO = [name for name in catalogue.names("models") if not name.endswith("_pyro")]
EXACT = [name for name in NUMPYRO if hasattr(catalogue.module("models", name), "exact_posterior")]
ROWS = 8
"""Few, so that the prior matters as much as the data."""


def ranks(name: str, exact_posterior) -> dict[str, np.ndarray]:
    """Rank of the truth among exact draws, for every latent's entry and the log likelihood:
    (DATASETS,) each.
    """
    task, model = catalogue.model(name), catalogue.module("models", name).model
    rows = 1 if task.block else ROWS
    draws = jax.jit(jax.vmap(lambda key: task.simulate(key, rows)))(
        jr.split(jr.key(rows), DATASETS)
    )
    truth = jax.jit(jax.vmap(task.constrain))(draws.latents, draws.data)
    data = {k: np.asarray(v[:, 0] if task.block else v) for k, v in draws.data.items()}
    exact = [
        exact_posterior({k: v[i] for k, v in data.items()}, jr.key(i), DRAWS)
        for i in range(DATASETS)
    ]
    sites = {
        n: np.stack([np.concatenate([truth[n][i][None], e[n]]) for i, e in enumerate(exact)])
        for n in exact[0]
    }
    assert set(sites) == set(task.latents.names)

    def likelihood(values, given):
        given = given | ({task.count: rows} if task.count else {})
        trace = log_density(model, (), given, values)[1]
        return sum(
            jnp.sum(trace[s]["fn"].log_prob(trace[s]["value"])) for s in task.observed.values()
        )

    table = {n: v.reshape(DATASETS, DRAWS + 1, -1) for n, v in sites.items()}
    quantities = {f"{n}[{j}]": v[..., j] for n, v in table.items() for j in range(v.shape[-1])}
    quantities["log likelihood"] = jax.jit(jax.vmap(jax.vmap(likelihood, (0, None))))(
        jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), sites), data
    )
    return {
        n: np.sum(np.asarray(v)[:, 1:] < np.asarray(v)[:, :1], 1) for n, v in quantities.items()
    }


def smallest_p(rank_of: dict[str, np.ndarray]) -> float:
    """Smallest p-value of chi-square tests for uniform ranks in ten bins, times the number of
    tests.
    """
    tests = [chisquare(np.bincount(rank // 10, minlength=10)).pvalue for rank in rank_of.values()]
    return min(tests) * len(tests)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_ranks_are_uniform(name):
    """A correct posterior fails once in 10,000 seeds (Bonferroni)."""
    assert smallest_p(ranks(name, _exact(name))) > 1e-4


def test_the_ranks_see_a_wrong_posterior():
    """Sds too wide by 30 percent are found: the test above has power."""

    def wide(data, key, draws):
        mean = _exact("gaussian_mean")(data, key, draws)["mean"]
        return {"mean": mean.mean() + 1.3 * (mean - mean.mean())}

    assert smallest_p(ranks("gaussian_mean", wide)) < 1e-4


@pytest.mark.parametrize("name", EXACT)
def test_same_key_same_draws(name):
    task = catalogue.model(name)
    draw = task.simulate(jr.key(0), 1 if task.block else 20)
    data = {k: v[0] if task.block else v for k, v in draw.data.items()}
    first, second, other = (_exact(name)(data, jr.key(seed), 5) for seed in (0, 0, 1))
    for site, values in first.items():
        assert values.shape == (5, *task.latents.shapes[site])
        np.testing.assert_array_equal(values, second[site])
        assert not np.array_equal(values, other[site])


def _exact(name: str):
    return catalogue.module("models", name).exact_posterior
