"""Conjugate models, their exact posteriors, and options that compile fast."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist

from amortppl.guide.guide import Guide
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch
from amortppl.training.ranges import Ranges
from amortppl.training.record import Record


def mean_model(rows, y=None):
    """mu ~ N(0, 2^2), y_i ~ N(mu, 1): conjugate."""
    mu = numpyro.sample("mu", dist.Normal(0, 2))
    with numpyro.plate("obs", rows):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def line_model(x, y=None):
    """Two covariates, unit noise: conjugate, a correlated posterior."""
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    numpyro.deterministic("w_sum", w.sum())
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ w, 1), obs=y)


def mean_posterior(y):
    """Exact mean and sd of `mean_model`."""
    precision = 1 / 4 + len(y)
    return np.sum(y) / precision, precision**-0.5


def line_posterior(x, y):
    """Exact mean and covariance of `line_model`."""
    covariance = np.linalg.inv(np.eye(x.shape[1]) + x.T @ x)
    return covariance @ x.T @ y, covariance


TINY = {
    "parametric": {"width": 4, "hidden": 8, "newton": 3, "sweeps": 1, "density": "gaussian"},
    "in_context": {"width": 8, "layers": 2, "heads": 1, "keys": 4, "values": 2, "hidden": 8},
    "neural_process": {"latent": 3, "hidden": 8},
    "conditional_neural_process": {"latent": 3, "hidden": 8, "head": 0},
    "conjugate_head": {"features": 3, "hidden": 8, "scales": 4},
    "maml": {"width": 8, "updates": 2},
    "meta_sgd": {"width": 8, "updates": 1},
    "hypernetwork": {"width": 4, "hidden": 8},
    "prior_fitted": {"width": 8, "layers": 1, "hidden": 8},
    "prompt_tuning": {
        "width": 8,
        "layers": 1,
        "hidden": 8,
        "prompt": 2,
        "updates": 2,
        "capacity": 8,
    },
    "versa": {"features": 4, "hidden": 8},
    "learned_optimiser": {"updates": 2, "memory": 4},
    "maml_in_context": {"width": 8, "layers": 1, "hidden": 8, "updates": 2, "capacity": 16},
    "synthetic_gradient": {"width": 8, "updates": 2, "imagined": 1, "hidden": 8},
    "iterative_implicit": {"width": 8, "layers": 1, "heads": 2, "keys": 4, "hidden": 8},
    "reverse_kl": {"width": 8, "layers": 1, "heads": 2},
    "iterative_parametric": {"width": 8, "layers": 1, "heads": 2},
    "iterative_explicit": {"latent": 3, "width": 8, "layers": 1, "heads": 2, "hidden": 8},
    "neural_bayes": {"width": 4, "hidden": 8},
    "many_chains": {"points": 2048, "chains": 8, "warmup": 5},
    "neural_likelihood": {"knots": 4, "points": 1024, "chains": 4, "warmup": 5},
    "neural_ratio": {
        "contrasts": 2,
        "width": 4,
        "hidden": 8,
        "points": 1024,
        "chains": 4,
        "warmup": 5,
    },
    "svi": {"iterations": 20},
    "laplace": {"newton": 4},
}
"""Options of each method that compile fast."""

SMALL = {"width": 8, "hidden": 16, "newton": 4, "sweeps": 1, "density": "gaussian"}
"""Options of the parametric method that compile fast."""


def shaken(module, scale):
    """An Equinox module with normal noise added to every number, so that no weight is zero."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda a: (
            jnp.asarray(a + scale * rng.normal(size=a.shape), a.dtype)
            if eqx.is_inexact_array(a)
            else a
        ),
        module,
    )


def untrained(task, spec):
    """A guide as it is before its first update; compiling an update takes 3 to 8 CPU s."""
    method = construct(spec.build, task, jr.key(0))
    return Guide(method, spec, Record(), 0, Ranges.from_simulations(task, 0))


def assert_disjoint_rows_add_up(method, atol):
    """Two states of four rows each combine into that of all eight."""
    data = method.task.simulate(jr.key(3), 8).data
    parts = [
        Batch({n: v[s] for n, v in data.items()}, jnp.ones(4, bool))
        for s in (slice(0, 4), slice(4, 8))
    ]
    together = method.combine([method.step(method.init(), p) for p in parts])
    whole = method.step(method.init(), Batch(data, jnp.ones(8, bool)))
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)
