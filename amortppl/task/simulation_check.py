"""Do simulated tasks follow the model that scores them? Asked once, when a task is made.

A guide learns from simulations, p(theta) p(y | x, theta) with y absent, and answers by the density
of the model with y given. Both are compared at a simulated task; and every latent must vary from
one simulation to the next, or nothing can be learned of it.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.errors import ModelError, quoted
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.enumeration import Marginal
from amortppl.task.parity import differ
from amortppl.task.program import log_density, unconstrain


class Simulated(NamedTuple):
    """One simulation: unconstrained latents, and log densities of the observed sites as the
    simulation has them and as the model has them once they are given.
    """

    latents: dict[str, Array]
    simulated: dict[str, Array]
    given: dict[str, Array]


def check_simulations(task: AbstractTask) -> None:
    """Compares two simulations, and the first with the model's density of it.

    Raises:
        ModelError: a latent is the same in both, or the densities differ; it names the site.
    """
    first, other = evaluate(
        lambda k: [_simulation(task, jr.fold_in(k, i)) for i in (0, 1)], seed_key(23)
    )
    chains = [n for n, s in task.local.sites.items() if s.discrete]
    free = {n: u for n, u in first.latents.items() if u.size and n not in chains}
    same = [n for n, u in free.items() if np.any(u == other.latents[n])]
    if same:
        raise ModelError(
            f"{task.name}: the latent {quoted(same)} has the same value in every simulation, so "
            "nothing can be learned of it. It is likely that a handler gives it its value or the "
            "model its random key (handlers.substitute, handlers.seed), or that its prior is a "
            "point. Take the handler away, or make it handlers.condition or handlers.do"
        )
    for name, density in first.given.items():
        if np.isfinite(density) and differ(
            float(first.simulated[name]), float(density), {name: density}
        ):
            raise ModelError(
                f"{task.name}: the log density of the site {name!r} is {density:.6g} once its "
                f"simulated observations are given, and {first.simulated[name]:.6g} in the "
                "simulation itself, so tasks are simulated from another model. It is likely that "
                "the model does something else where an observation is None, or that it draws "
                "random numbers beside its sample sites, or hides one (handlers.block)"
            )


def _simulation(task: AbstractTask, key: Array) -> Simulated:
    rows = task.probe_rows[0]
    inputs = task.input_rows(jr.fold_in(key, 0), rows)
    trace = task.program.trace(jr.fold_in(key, 1), inputs, rows)
    latents = {n: unconstrain(trace[n]) for n in (*task.latents.names, *task.local.sites)}
    if isinstance(task.model, Marginal) or not task.has_density:
        return Simulated(latents, {}, {})
    data: dict[str, Any] = inputs | task.density.observations(trace)
    given = task.plain.density(latents, data).sites
    sites = task.observed.values()
    own = {n: jnp.sum(log_density(trace[n])) for n in sites}
    return Simulated(latents, own, {n: jnp.sum(given[n]) for n in sites})
