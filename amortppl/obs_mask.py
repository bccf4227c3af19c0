"""Observations of which a model leaves some out: `sample(..., obs=y, obs_mask=seen)`, NumPyro's and Pyro's.

Both make of a site y two: `y_observed`, masked where a row is not seen, and a latent `y_unobserved` that fills these
rows. Where nothing else depends on the latter it integrates to one, and is no latent of the task. What y holds in rows
that are not seen says nothing: it is replaced by one fixed value, in simulations as in data, so that nothing learns
from it.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.errors import ModelError
from amortppl.numpy_evaluation import evaluate
from amortppl.parity import simulated
from amortppl.tracing import Site

if TYPE_CHECKING:
    from amortppl.task import Task

OBSERVED, UNOBSERVED = "_observed", "_unobserved"


def twins(targets: Iterable[str], sites: Mapping[str, Site]) -> dict[str, str]:
    """For each observed site of this kind, the one that fills the rows that are not seen."""
    found = {n: n.removesuffix(OBSERVED) for n in targets if n.endswith(OBSERVED)}
    return {n: base + UNOBSERVED for n, base in found.items() if base in sites and base + UNOBSERVED in sites}


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


def refuse_use(task: "Task") -> None:
    """Refuses a model in which what fills the missing rows has a part elsewhere.

    Raises:
        ModelError: another site's log density changes with it.
    """
    for site, twin in task.twins.items():
        one, two = evaluate(lambda key, twin=twin: _densities(task, key, twin), jr.key(3))
        moved = [n for n in one if n != twin and not np.allclose(one[n], two[n], rtol=1e-5, equal_nan=True)]
        if moved:
            raise ModelError(
                f"{task.name}: {site.removesuffix(OBSERVED)!r} is missing in some rows (obs_mask), and the site "
                f"{moved[0]!r} depends on what fills them, which is not inferred here. Sample what is missing as a "
                "latent of its own, in the plate of the rows, or take these rows out"
            )


def _densities(task: "Task", key: Array, twin: str) -> Any:
    """Log densities by site with two values of what fills the missing rows."""
    rows = task.probe_rows[0]
    inputs = task.input_rows(key, rows)
    fills = [task.program.trace(jr.fold_in(key, i), inputs, rows)[twin]["value"] for i in (0, 1)]
    point = simulated(task, key, rows)
    latents = task.latents.unflatten(point.vector) | point.local
    return [task.plain.density(latents, point.data, {twin: fill}).sites for fill in fills]
