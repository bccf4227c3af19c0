"""What NumPyro itself says of a random model: draws of it, and log densities by site."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import numpyro.handlers as handlers
from numpyro.distributions import biject_to
from numpyro.infer.util import log_density
from scipy.special import logsumexp

from amortppl.runtime.numpy_evaluation import evaluate

Values = Mapping[str, np.ndarray]


class Unjudged(Exception):
    """The judge has no truth for this model."""


class Drawn(NamedTuple):
    """A simulation: values of the sample sites, those that are latent, those enumerated with their
    possible values."""

    values: dict[str, np.ndarray]
    latent: set[str]
    enumerated: dict[str, np.ndarray]


class Density(NamedTuple):
    """Log densities in total by site (of latents with log |d theta / d u|), and the latents."""

    sites: dict[str, Any]
    latent: set[str]


def simulate(model: Any, arguments: Mapping[str, Any], seed: int) -> Drawn:
    """A run of the model with its observations absent."""
    latent, enumerated = set(), {}

    def run(key: jax.Array, given: Any) -> dict[str, Any]:
        trace = handlers.trace(handlers.seed(model, key)).get_trace(**given)
        samples = {n: s for n, s in trace.items() if s["type"] == "sample"}
        latent.update(n for n, s in samples.items() if not s["is_observed"])
        for n, s in samples.items():
            if s["infer"].get("enumerate") == "parallel":
                with jax.ensure_compile_time_eval():
                    enumerated[n] = np.asarray(s["fn"].enumerate_support(expand=False)).ravel()
        types.update({n: jnp.result_type(s["value"]) for n, s in samples.items()})
        return {n: s["value"] for n, s in samples.items()}

    types: dict[str, Any] = {}
    numbers = {n: v for n, v in arguments.items() if not isinstance(v, int)}
    whole = {n: v for n, v in arguments.items() if isinstance(v, int)}
    values = evaluate(lambda k, g: run(k, {**g, **whole}), jr.key(seed), numbers)
    values = {n: np.asarray(v, types[n]) for n, v in values.items()}
    return Drawn(values, latent, enumerated)


def density(model: Any, arguments: Mapping[str, Any], values: Mapping[str, Any]) -> Density:
    """Log densities at values of the latents, with the observations among the arguments.

    JAX-traceable. What the values leave open is drawn with a key of its own.
    """
    total, trace = log_density(handlers.seed(model, jr.key(99)), (), dict(arguments), dict(values))
    samples = {n: s for n, s in trace.items() if s["type"] == "sample"}
    sites = {n: jnp.sum(_scaled(s)) for n, s in samples.items()}
    rest = total - sum(sites.values(), jnp.zeros(()))
    for name in values:
        if name in samples:
            sites[name] = sites[name] + _jacobian(samples[name])
    return Density({**sites, "": rest}, {n for n, s in samples.items() if not s["is_observed"]})


def log_densities(model: Any, arguments: Any, latents: Any, by_name: Any) -> Density:
    """The same in NumPy's numbers, with some observations fed by name."""
    whole = {n: v for n, v in arguments.items() if isinstance(v, int)}
    numbers = {n: v for n, v in arguments.items() if n not in whole}
    latent: set[str] = set()

    def run(numbers: Any, latents: Any, by_name: Any) -> Any:
        found = density(_fed(model, by_name), {**numbers, **whole}, latents)
        latent.update(found.latent)
        return found.sites

    sites = evaluate(run, *map(as_jax, (numbers, latents, by_name)))
    if abs(sites.pop("")) > 1e-2 * (1 + sum(abs(v) for v in sites.values())):
        raise Unjudged("log_density is not the sum of its sites")
    return Density(sites, latent)


def _fed(model: Any, by_name: Mapping[str, Any]) -> Any:
    return handlers.condition(model, data=dict(by_name)) if by_name else model


def as_jax(values: Mapping[str, Any]) -> dict[str, Any]:
    """NumPy's arrays as JAX's."""
    return jax.tree.map(jnp.asarray, dict(values))


def _scaled(site: dict) -> Any:
    each = site["fn"].log_prob(site["value"])
    return each if site["scale"] is None else site["scale"] * each


def _jacobian(site: dict) -> Any:
    """log |d theta / d u|; of a discrete latent none."""
    if getattr(site["fn"].support, "is_discrete", False):
        return 0.0
    bijection = biject_to(site["fn"].support)
    u = bijection.inv(site["value"])
    return jnp.sum(bijection.log_abs_det_jacobian(u, site["value"]))


GRID = np.linspace(-18.0, 18.0, 1441)
"""Unconstrained values of a latent of one row."""


def integrated(case: Any, data: Mapping[str, Any]) -> float:
    """log sum_z p(z) prod_i int p(y_i, e_i | z, theta) de_i, by the trapezoid rule.

    No row is taken out, since a row may depend on its place and their number. With T the log joint
    at the simulated e and L_i the log of its integral over e_i, the others held, the log of the
    product is T + sum_i (L_i - T).

    Raises:
        Unjudged: a row has more than one number, or T is not finite.
    """
    if len(case.task.local.sites) != 1 or case.task.local.size != 1:
        raise Unjudged("more than one latent a row")
    each = case.configurations()
    z = {n: jnp.asarray(np.stack([c[n] for c in each])) for n in each[0]}
    at, along = evaluate(lambda z, rows: _joints(case, z, rows), z, as_jax(data))
    if not np.isfinite(at).all():
        raise Unjudged("held at their simulated values the latents of rows have no density")
    rows = logsumexp(along, -1) + np.log(GRID[1] - GRID[0])
    prior, _ = case.truth(data, case.latents)
    return float(logsumexp(at + np.sum(rows - at[:, None], -1))) - prior


def _joints(case: Any, z: Mapping[str, Any], rows: Mapping[str, Any]) -> tuple[Any, Any]:
    """Log joints at C configurations z: with the simulated e (C,), and with each row's e at the
    nodes (C, N, K).
    """
    (name,) = case.task.local.sites
    positive = dist.constraints.positive if name[0] == "f" else dist.constraints.real
    here, nodes = jnp.asarray(case.latents[name]), biject_to(positive)(jnp.asarray(GRID, "f"))
    row = jnp.arange(len(here)).reshape(-1, *[1] * (here.ndim - 1))
    shared = as_jax({n: v for n, v in case.latents.items() if n != name})
    given, model = case.arguments_of(rows), _fed(case.model, case.by_name(rows))

    def joint(z: Any, e: Any) -> Any:
        """With the Jacobians."""
        one = density(model, given, {**shared, **z, name: e})
        out = case.fixed(one)
        return sum(jnp.sum(v) for n, v in one.sites.items() if n and n not in out)

    def at_nodes(z: Any, i: Any) -> Any:
        return jax.vmap(lambda value: joint(z, jnp.where(row == i, value, here)))(nodes)

    if not z:
        along = jax.vmap(lambda i: at_nodes({}, i))(row.ravel())
        return joint({}, here)[None], along[None]
    along = jax.vmap(lambda z: jax.vmap(lambda i: at_nodes(z, i))(row.ravel()))
    return jax.vmap(lambda z: joint(z, here))(z), along(z)
