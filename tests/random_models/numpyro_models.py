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
        fed = handlers.condition(model, data=by_name) if by_name else model
        found = density(fed, {**numbers, **whole}, latents)
        latent.update(found.latent)
        return found.sites

    sites = evaluate(run, *map(as_jax, (numbers, latents, by_name)))
    if abs(sites.pop("")) > 1e-2 * (1 + sum(abs(v) for v in sites.values())):
        raise Unjudged("log_density is not the sum of its sites")
    return Density(sites, latent)


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
    """log prod_i int p(y_i, e_i | theta) de_i by the trapezoid rule, one row at a time.

    Raises:
        Unjudged: a row has more than one number.
    """
    if len(case.task.local.sites) != 1 or case.task.local.size != 1:
        raise Unjudged("more than one latent a row")
    (name,) = case.task.local.sites
    shape = np.shape(case.latents[name])
    support = {"e": biject_to(dist.constraints.real), "f": biject_to(dist.constraints.positive)}
    bijection = support.get(name[0], support["e"])

    shared = {n: jnp.asarray(v) for n, v in case.latents.items()}

    states = [{n: jnp.asarray(v) for n, v in z.items()} for z in case.configurations(slice(1))]

    def row(u: Any, rows: Any) -> Any:
        """Of a dataset of one row, with its Jacobian."""
        values = {**shared, name: jnp.broadcast_to(bijection(u), (1, *shape[1:]))}
        each = [density(case.model, case.arguments_of(rows), {**values, **z}) for z in states]
        out = case.fixed(each[0])
        totals = [sum(jnp.sum(v) for n, v in d.sites.items() if n and n not in out) for d in each]
        return jax.nn.logsumexp(jnp.stack(totals), 0)

    def grid(rows: Any) -> Any:
        return jax.vmap(lambda u: row(u, rows))(jnp.asarray(GRID, jnp.float32))

    prior, total = case.truth(data, case.latents)[0], 0.0
    for i in range(len(next(iter(data.values())))):
        each = evaluate(grid, {n: jnp.asarray(v[i : i + 1]) for n, v in data.items()}) - prior
        total += float(logsumexp(each) + np.log(GRID[1] - GRID[0]))
    return total
