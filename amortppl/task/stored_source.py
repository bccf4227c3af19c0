"""Stored simulations as the source of a task."""

import warnings
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpyro.distributions.constraints import Constraint

from amortppl.errors import DataError, SimulationWarning
from amortppl.simulators.stored import LEARN, UNUSABLE, Stored
from amortppl.simulators.supports import infer_support
from amortppl.task.simulation_task import Source

LOOKED_AT = 100_000
"""Simulations that supports are read off."""


def stored_source(
    stored: Stored, supports: Mapping[str, Constraint], why_not: str, simulator: Any = None
) -> Source:
    """Simulations that are there, with the supports that are given and others read off them.

    Args:
        stored: the simulations.
        supports: of some latents.
        why_not: why nothing can be predicted, in words.
        simulator: what made them.

    Raises:
        DataError: values of a latent lie outside its support.
    """
    places = np.sort(stored.places(LEARN))[:LOOKED_AT]
    supported = {}
    for name, values in stored.latents.items():
        draws = np.asarray(values[places])
        supported[name] = supports.get(name) or infer_support(draws)
        _expect_inside(name, supported[name], draws)
    return Source(
        supports=supported,
        shapes={n: v.shape[1:] for n, v in stored.latents.items()},
        data={n: v.shape[1:] for n, v in stored.data.items()},
        stored=stored,
        why_not=why_not,
        compiled=False,
        simulator=simulator,
    )


def tell_unusable(name: str, stored: Stored) -> None:
    """Warns of simulations that are left out for values that are not finite."""
    unusable = len(stored.places(UNUSABLE))
    if unusable:
        warnings.warn(
            f"{name}: {unusable} of {stored.size} simulations are left out, as they have NaN or "
            "infinity. Posteriors are given that there is none; fill up missing values and give "
            "an indicator of them too, to learn from these",
            SimulationWarning,
            stacklevel=4,
        )


def _expect_inside(name: str, support: Constraint, draws: np.ndarray) -> None:
    inside = np.asarray(support(jnp.asarray(draws, jnp.float32)))
    if not inside.all():
        place = tuple(np.argwhere(~inside)[0])
        raise DataError(
            f"supports: {np.sum(~inside)} of {inside.size} values of {name!r} lie outside "
            f"{support!r}, first {draws[place]}"
        )
