"""A guide in NumPyro's own hands: as the guide of SVI and Predictive, and as the start of NUTS."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from amortppl.data.columns import Columns
from amortppl.data.dataset import read
from amortppl.errors import DataError
from amortppl.method import final
from amortppl.posterior.draws import draw
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.trained import TrainedMethod


def sample(guide: TrainedMethod, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Samples the model's latents as a NumPyro guide does; see `Guide.__call__`."""
    task = guide.task
    refuse_local(task, "guide")
    bound = inspect.signature(task.model).bind(*args, **kwargs).arguments
    data = {n: jnp.asarray(bound[n]) for n in task.arguments if bound.get(n) is not None}
    missing = [n for n in task.arguments if n not in data]
    if missing:
        raise DataError(
            f"guide: the model's argument {missing[0]!r} is needed, because the guide reads the "
            f"data"
        )
    data = {n: v[None] if task.block else v for n, v in data.items()}
    learned, rest = eqx.partition(guide.method, eqx.is_inexact_array)
    flat, restore = ravel_pytree(learned)
    method = eqx.combine(restore(numpyro.param("amortppl_weights", flat)), rest)
    rows = next(iter(data.values())).shape[0]
    posterior = method.readout(final(method, Batch(data, jnp.ones(rows, bool))))
    vector = numpyro.sample(
        "amortppl_latent", Unconstrained(posterior, task.latents.size), infer={"is_auxiliary": True}
    )
    sites, jacobians = task.sites_at(vector, data)
    for name, value in sites.items():
        batch = task.sites[
            name
        ].density_shape  # as in the model, where plates may make some axes independent
        density = jnp.broadcast_to(-jacobians[name] / math.prod(batch), batch)
        numpyro.sample(
            name, dist.Delta(value, log_density=density, event_dim=jnp.ndim(value) - len(batch))
        )


def start_nuts(
    guide: TrainedMethod,
    data: Any,
    chains: int,
    seed: int,
    columns: Columns | None,
    options: Mapping[str, Any],
) -> tuple[Any, dict[str, Array]]:
    """A NUTS kernel and initial parameters; see `Guide.start_nuts`."""
    from numpyro.infer import NUTS

    task = guide.task
    refuse_local(task, "start_nuts")
    vectors = jnp.asarray(
        draw(guide.method, [read(task, data, columns)], max(1000, chains), seed).vectors[0]
    )
    starts = jax.vmap(task.latents.unflatten)(vectors[:chains])
    covariance = jnp.cov(vectors, rowvar=False).reshape(task.latents.size, -1)
    # A short warm-up would put a few draws' covariance in the mass matrix's place, and finds steps
    # too short for 0.8.
    options = {"adapt_mass_matrix": False, "target_accept_prob": 0.7, **options}
    kernel = NUTS(task.model, dense_mass=True, inverse_mass_matrix=covariance, **options)
    return kernel, jax.tree.map(lambda a: a[0], starts) if chains == 1 else starts


def refuse_local(task: AbstractTask, what: str) -> None:
    """The guide knows no density of latents that every row has of its own.

    Raises:
        DataError: the task has some.
    """
    if task.local:
        raise DataError(
            f"{what}: {task.name} has latents with one value per row "
            f"({', '.join(task.local.sites)}). "
            "This guide integrates them out; NumPyro would have to sample them. Use `infer` and "
            "`local`"
        )


class Unconstrained(dist.Distribution):
    """A readout as a NumPyro distribution over the latents' unconstrained vector."""

    support = dist.constraints.real_vector

    def __init__(self, posterior: Any, size: int) -> None:
        self.posterior = posterior
        super().__init__((), (size,), validate_args=False)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, by the reparameterised sampler of the readout."""
        vectors = self.posterior.sample(key, int(np.prod(sample_shape)))[0]
        return vectors.reshape(*sample_shape, *self.event_shape)

    def log_prob(self, value: Array) -> Array:
        """Log density of unconstrained vectors."""
        flat = value.reshape(-1, *self.event_shape)
        return jax.vmap(self.posterior.log_prob)(flat).reshape(value.shape[:-1])
