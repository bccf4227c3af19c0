"""Pyro's NUTS, started from a guide: chains begin at its draws, its covariance is the mass
matrix.
"""

from typing import Any

import numpy as np
import torch
from pyro.infer.mcmc import NUTS
from pyro.infer.mcmc.adaptation import BlockMassMatrix
from torch.distributions import biject_to

import pyro
from amortppl.errors import DataError
from pyro import poutine

DRAWS = 1000
"""From which the covariance is taken."""


class GuideMassMatrix(BlockMassMatrix):
    """A dense mass matrix whose value, at first or for good, is given."""

    def __init__(self, covariance: torch.Tensor) -> None:
        super().__init__()
        self.covariance = covariance

    def configure(
        self, mass_matrix_shape: Any, adapt_mass_matrix: bool = True, options: Any = {}
    ) -> None:
        """Sets up the adaptation as Pyro does, then the given matrix."""
        super().configure(mass_matrix_shape, adapt_mass_matrix, options)
        self.inverse_mass_matrix = {
            sites: self.covariance.to(**options) for sites in mass_matrix_shape
        }


def start_pyro_nuts(
    guide: Any, data: Any, chains: int, seed: int, model: Any, options: Any
) -> tuple[Any, dict]:
    """A kernel and initial parameters, unconstrained as Pyro has them; with a leading axis of
    several chains.
    """
    model = model or _pyro_model(guide.task.model)
    draws = max(DRAWS, chains)
    with torch.random.fork_rng(), torch.no_grad(), poutine.block():
        torch.manual_seed(seed)
        supports = _supports(model, data, guide.task.latents.names)
        with pyro.plate("amortppl_draws", draws, dim=-1 - guide.nesting), _store_kept():
            values = guide(**data)
    named = sorted(values)
    free = {
        n: biject_to(supports[n]).inv(values[n]).reshape(draws, *_inner(guide, n, supports[n]))
        for n in named
    }
    flat = np.concatenate([free[n].reshape(draws, -1).cpu().numpy() for n in named], 1)
    covariance = torch.from_numpy(np.atleast_2d(np.cov(flat, rowvar=False)))
    kernel = NUTS(model, full_mass=True, **{"adapt_mass_matrix": False, **options})
    kernel.mass_matrix_adapter = GuideMassMatrix(covariance)
    return kernel, {n: v[0].clone() if chains == 1 else v[:chains].clone() for n, v in free.items()}


def _pyro_model(model: Any) -> Any:
    """The Pyro model that a task was made of."""
    while hasattr(model, "model"):
        model = model.model
    if not hasattr(model, "pyro"):
        raise DataError(
            "start_nuts: the guide was trained on a NumPyro model; pass its Pyro twin as `model`"
        )
    return model.pyro


def _supports(model: Any, data: Any, latents: list[str]) -> dict[str, Any]:
    trace = poutine.trace(model).get_trace(**data)
    return {n: trace.nodes[n]["fn"].support for n in latents}


def _inner(guide: Any, name: str, support: Any) -> tuple[int, ...]:
    """Shape of a latent's unconstrained value."""
    return tuple(biject_to(support).inverse_shape(torch.Size(guide.task.sites[name].shape)))


class _store_kept:
    """Leaves Pyro's parameters as they were."""

    def __enter__(self) -> None:
        self.missing = "amortppl_weights" not in pyro.get_param_store()

    def __exit__(self, *_: Any) -> None:
        if self.missing and "amortppl_weights" in pyro.get_param_store():
            del pyro.get_param_store()["amortppl_weights"]
