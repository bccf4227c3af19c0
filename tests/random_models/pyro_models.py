"""What Pyro itself says of a random model: draws of it, and log densities by site."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpyro.distributions import biject_to, constraints
from pyro.poutine.subsample_messenger import _Subsample

import pyro
from pyro import poutine
from random_models.numpyro_models import Density, Drawn, Unjudged


def simulate(model: Any, arguments: Mapping[str, Any], seed: int) -> Drawn:
    """A run of the model with its observations absent.

    Raises:
        Unjudged: Pyro cannot draw from the plain model.
    """
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    values, latent, enumerated = {}, set(), {}
    try:
        samples = _samples(model, arguments)
    except RuntimeError as error:
        raise Unjudged(f"Pyro cannot draw from the plain model: {error}") from error
    for name, site in samples.items():
        values[name] = site["value"].detach().numpy()
        latent |= set() if site["is_observed"] else {name}
        if site["infer"].get("enumerate") == "parallel":
            enumerated[name] = site["fn"].enumerate_support(expand=False).numpy().ravel()
    return Drawn(values, latent, enumerated)


def density(model: Any, arguments: Mapping[str, Any], values: Mapping[str, Any]) -> Density:
    """Log densities at values of the latents, with the observations among the arguments.

    Jacobians are those of NumPyro's bijections, which are the task's unconstrained space.
    """
    pyro.set_rng_seed(99)
    at = {n: torch.as_tensor(np.array(v)) for n, v in values.items()}
    with pyro.validation_enabled(False):
        try:
            samples = _samples(_placed(model, at), arguments)
        except IndexError as error:  # JAX takes the last group
            raise Unjudged(f"the plain model takes no such data: {error}") from error
    sites = {}
    for name, site in samples.items():
        sites[name] = float(site["log_prob_sum"])
        if name in values and not getattr(site["fn"].support, "is_discrete", False):
            sites[name] += _jacobian(site, np.asarray(values[name]))
    latent = {n for n, s in samples.items() if n in values or not s["is_observed"]}
    return Density(sites, latent)


def log_densities(model: Any, arguments: Any, latents: Any, by_name: Any) -> Density:
    """The same with some observations fed by name."""
    data = {n: torch.as_tensor(np.array(v)) for n, v in by_name.items()}
    return density(poutine.condition(model, data=data) if data else model, arguments, latents)


def integrated(case: Any, data: Any) -> float:
    """Latents of rows are not integrated out here."""
    raise Unjudged("latents of rows in Pyro")


def _placed(model: Any, at: Mapping[str, torch.Tensor]) -> Any:
    """Latents at these values, which stay latents."""
    trace = poutine.Trace()
    for name, value in at.items():
        trace.add_node(name, name=name, type="sample", value=value, is_observed=False, infer={})
    return poutine.replay(model, trace=trace)


def _samples(model: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        n: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for n, v in arguments.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = poutine.trace(model).get_trace(**given)
        trace.compute_log_prob()
    return {
        n: s
        for n, s in trace.nodes.items()
        if s["type"] == "sample" and not isinstance(s["fn"], _Subsample)
    }


def _jacobian(site: Any, value: np.ndarray) -> float:
    bijection = biject_to(_support(site["fn"]))
    u = bijection.inv(value)
    return float(np.sum(bijection.log_abs_det_jacobian(u, value)))


def _support(fn: Any) -> Any:
    """NumPyro's constraint of the same set; Pyro says real where NumPyro has a circle."""
    support = fn.support
    if isinstance(getattr(fn, "base_dist", fn), torch.distributions.VonMises):
        return constraints.circular
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    kind = type(support).__name__.strip("_").lower()
    if kind in ("interval", "halfopeninterval"):
        return constraints.interval(
            support.lower_bound.detach().numpy()
            if hasattr(support.lower_bound, "detach")
            else support.lower_bound,
            support.upper_bound.detach().numpy()
            if hasattr(support.upper_bound, "detach")
            else support.upper_bound,
        )
    names = {
        "real": constraints.real,
        "greaterthan": constraints.positive,
        "greaterthaneq": constraints.positive,
        "positive": constraints.positive,
        "nonnegative": constraints.positive,
        "simplex": constraints.simplex,
        "corrcholesky": constraints.corr_cholesky,
        "circular": constraints.circular,
    }
    return names[kind]
