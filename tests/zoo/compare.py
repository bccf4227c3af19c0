"""A Pyro model's log density and gradient by Pyro, and by NumPyro through the bridge, at one draw
from the prior.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.handlers as numpyro_handlers
import torch
from numpyro.infer.util import log_density
from pyro.poutine.subsample_messenger import _Subsample

import amortppl as ap
import pyro
from pyro import poutine
from zoo.registry import Member


class Compared(NamedTuple):
    """Log densities, and gradients by latent."""

    native: float
    bridged: float
    native_gradient: dict[str, np.ndarray]
    bridged_gradient: dict[str, np.ndarray]

    @property
    def gap(self) -> float:
        """Of the log density, in units of 1e-4 + 1e-6 |log density|."""
        return abs(self.bridged - self.native) / (1e-4 + 1e-6 * abs(self.native))

    @property
    def gradient_gap(self) -> float:
        """Of the gradient, relative to its largest entry (or to 1 where it is smaller)."""
        flat = [
            np.concatenate([np.ravel(g[n]) for n in sorted(g)] or [np.zeros(1)]) for g in self[2:]
        ]
        return float(np.max(np.abs(flat[0] - flat[1])) / max(1.0, np.max(np.abs(flat[0]))))


class Drawn(NamedTuple):
    """One draw: continuous latents (which need gradients), discrete ones, rows chosen by plates,
    parameters.
    """

    continuous: dict[str, torch.Tensor]
    discrete: dict[str, torch.Tensor]
    rows: dict[str, torch.Tensor]
    parameters: dict[str, torch.Tensor]


def drawn(member: Member, seed: int = 1) -> Drawn:
    """One draw of a model by Pyro."""
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    sites = Drawn({}, {}, {}, {})
    for name, site in poutine.trace(member.model).get_trace(*member.args).nodes.items():
        if site["type"] == "param":
            sites.parameters[name] = site["value"].detach()
        elif site["type"] == "sample" and isinstance(site["fn"], _Subsample):
            sites.rows[name] = site["value"]
        elif site["type"] == "sample" and not site["is_observed"]:
            value, discrete = site["value"].detach(), site["fn"].support.is_discrete
            (sites.discrete if discrete else sites.continuous)[name] = value.clone().requires_grad_(
                not discrete
            )
    return sites


def native(member: Member, at: Drawn) -> tuple[float, dict[str, np.ndarray]]:
    """By Pyro."""
    fixed = poutine.condition(member.model, {**at.continuous, **at.discrete, **at.rows})
    with pyro.validation_enabled(False):
        total = poutine.trace(fixed).get_trace(*member.args).log_prob_sum()
    values = list(at.continuous.values())
    slopes = torch.autograd.grad(total, values, allow_unused=True) if values else ()
    gradients = [
        np.zeros(v.shape) if s is None else s.numpy() for v, s in zip(values, slopes, strict=True)
    ]
    return float(total), dict(zip(at.continuous, gradients, strict=True))


def bridged(member: Member, at: Drawn) -> tuple[float, dict[str, np.ndarray]]:
    """By NumPyro, under jit and grad."""
    discrete, rows, parameters = ({n: v.numpy() for n, v in part.items()} for part in at[1:])
    model = numpyro_handlers.substitute(
        ap.from_pyro(member.model), data={n: jnp.asarray(v) for n, v in rows.items()}
    )

    def joint(latents: dict[str, Any]) -> Any:
        return log_density(model, member.args, {}, {**latents, **discrete, **parameters})[0]

    latents = {n: jnp.asarray(v.detach().numpy()) for n, v in at.continuous.items()}
    value, slopes = jax.jit(jax.value_and_grad(joint))(latents)
    return float(value), {n: np.asarray(s) for n, s in slopes.items()}


def compared(member: Member, seed: int = 1) -> Compared:
    """Both, at the same draw."""
    at = drawn(member, seed)
    (native_value, native_slopes), (value, slopes) = native(member, at), bridged(member, at)
    return Compared(native_value, value, native_slopes, slopes)
