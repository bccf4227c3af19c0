"""Power-scaling sensitivity: how much a posterior owes to its prior and to its likelihood.

Kallioinen, Paananen, Bürkner and Vehtari 2024, "Detecting and diagnosing prior and likelihood
sensitivity with power-scaling", Statistics and Computing 34, as ArviZ computes it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Array

from amortppl.errors import DataError
from amortppl.method import Method
from amortppl.runtime.compilation import Compiled
from amortppl.training.trained import TrainedMethod


def sensitivity(guide: TrainedMethod, post: xr.DataTree) -> pd.DataFrame:
    """Sensitivity of each latent's posterior to the power of its prior and of its likelihood.

    With p(theta)^a and p(y | theta)^b in place of prior and likelihood, it is the rate at which the
    posterior's marginal changes with log2 a and with log2 b at 1, by importance weights on the
    draws at hand. Values above 0.05 are large. Kallioinen et al. 2024, Statistics and Computing 34.

    Args:
        guide: the guide that made the posterior.
        post: what `guide.infer` returned for one dataset, with its group `log_likelihood`.

    Returns:
        A row a latent entry, ArviZ's `psense_summary`: columns `prior`, `likelihood` and
        `diagnosis`.

    Raises:
        DataError: several datasets, or no log likelihoods.

    Example:
        >>> import amortppl as ap
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), "laplace", progress=False)
        >>> post = guide.infer({"y": [0.3, -0.2, 1.1, 0.4]}, draws=100)
        >>> ap.sensitivity(guide, post).columns.tolist()
        ['prior', 'likelihood', 'diagnosis']
    """
    from arviz_stats import psense_summary

    if "task" in post["posterior"].dims:
        raise DataError(
            "sensitivity: expected the posterior of one dataset, got several along 'task'; infer "
            "each by itself"
        )
    if "log_likelihood" not in post.children:
        raise DataError(
            "sensitivity: expected a group 'log_likelihood', got none; infer with "
            "log_likelihood=True"
        )
    return psense_summary(with_prior(guide, post), var_names=guide.task.latents.names)


def with_prior(guide: TrainedMethod, post: xr.DataTree) -> xr.DataTree:
    """The tree with a group `log_prior`.

    It holds the log prior density of the latents, in their own space, at each draw.
    """
    posterior = post["posterior"].dataset
    sites = {
        n: jnp.asarray(posterior[n].values.reshape(-1, *s))
        for n, s in guide.task.latents.shapes.items()
    }
    values = np.asarray(_log_prior(guide.method, sites, guide.blank.data))
    values = values.reshape(posterior.sizes["chain"], -1)
    coords = {c: posterior[c] for c in ("chain", "draw")}
    prior = xr.Dataset({"prior": (("chain", "draw"), values)}, coords)
    sets = {f"/{n}": g.dataset for n, g in post.children.items()}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=post.attrs), **sets, "/log_prior": prior})


@Compiled
def _log_prior(method: Method, sites: dict[str, Array], data: dict[str, Array]) -> Array:
    def one(values: dict[str, Array]) -> Array:
        vector = method.task.unconstrain(values, data)
        return method.task.log_prior(vector) - sum(method.task.sites_at(vector, data)[1].values())

    return jax.vmap(one)(sites)
