"""Observations of which a model leaves some out: `sample(..., obs=y, obs_mask=seen)`, NumPyro's and
Pyro's.

Both make of a site y two: `y_observed`, masked where a row is not seen, and a latent `y_unobserved`
that fills these rows. Where nothing else depends on the latter it integrates to one, and is no
latent of the task. What y holds in rows that are not seen says nothing: it is replaced by one fixed
value, in simulations as in data, so that nothing learns from it.
"""

from collections.abc import Iterable, Mapping

import jax.numpy as jnp
from jaxtyping import Array

from amortppl.task.tracing import Site

OBSERVED, UNOBSERVED = "_observed", "_unobserved"


def twins(targets: Iterable[str], sites: Mapping[str, Site]) -> dict[str, str]:
    """For each observed site of this kind, the one that fills the rows that are not seen."""
    bases = {n: n.removesuffix(OBSERVED) for n in targets if n.endswith(OBSERVED)}
    return {
        n: base + UNOBSERVED
        for n, base in bases.items()
        if base in sites and base + UNOBSERVED in sites
    }


def seen(site: dict) -> Array:
    """Where a traced site is not masked, in the shape of its value."""
    fn, value = site["fn"], site["value"]
    mask = jnp.asarray(getattr(fn, "_mask", True))
    wide = mask.reshape(mask.shape + (1,) * fn.event_dim) if mask.ndim else mask
    return jnp.broadcast_to(wide, jnp.shape(value))


def blanked(site: dict) -> Array:
    """The value of a traced site, one fixed value of its support where it is masked."""
    value = site["value"]
    fill = jnp.asarray(site["fn"].support.feasible_like(value), jnp.result_type(value))
    return jnp.where(seen(site), value, fill)
