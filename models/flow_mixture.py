"""Generation by flow matching: mixtures of three Gaussians in the plane, given example points.

    point ~ sum_k w_k N(centre_k, spread_k^2 I),   noise ~ N(0, I),   t ~ U(0, 1)
    at = (1 - t) noise + t point,    velocity = point - noise

A row is a place (at, t) and the velocity there. It holds an example point, at + (1 - t) velocity,
so that context and queries are rows alike, and the mean of the velocity given (at, t) and the
context is the field that carries noise at t = 0 to new points at t = 1. The mixtures are those of
`mixture_2d`, whose posterior is the parametric way to the same field.

Lipman, Chen, Ben-Hamu, Nickel and Le 2023, "Flow matching for generative modeling", arXiv
2210.02747.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from numpyro.distributions import constraints

TASK = {
    "inputs": ["at", "t"],
    "observed": {"velocity": constraints.real_vector},
    "rows": (8, 160),
    "dims": {"at": ["axis"], "velocity": ["axis"]},
}


def episodes(key, rows):
    """A mixture's rows: at (rows, 2), t (rows,), velocity (rows, 2)."""
    keys = jr.split(key)
    return bridge(keys[0], points(keys[1], rows))


def points(key, rows):
    """Points of a mixture at random, (rows, 2)."""
    keys, (weights, centres, spreads) = jr.split(key, 5), mixture(key)
    kind = jr.choice(keys[3], 3, (rows,), p=weights)
    return centres[kind] + spreads[kind, None] * jr.normal(keys[4], (rows, 2))


def mixture(key):
    """Weights (3,), centres (3, 2) and spreads (3,) of the mixture that `points` draws from."""
    keys = jr.split(key, 5)
    weights = jr.dirichlet(keys[0], jnp.full(3, 2.0))
    spreads = jnp.exp(-0.7 + 0.4 * jr.normal(keys[2], (3,)))
    return weights, 2.0 * jr.normal(keys[1], (3, 2)), spreads


def field(at, t, weights, centres, spreads):
    """Mean velocity at places (N, 2) and times (N,) when points come from a mixture, (N, 2)."""
    t = t[:, None]
    variance = (1 - t) ** 2 + (t * spreads) ** 2
    away = at[:, None] - t[..., None] * centres
    log_share = jnp.log(weights) - jnp.log(variance) - 0.5 * jnp.sum(away**2, -1) / variance
    slope = (t * spreads**2 - (1 - t)) / variance
    return jnp.sum(jax.nn.softmax(log_share)[..., None] * (centres + slope[..., None] * away), 1)


def bridge(key, points):
    """Places between noise and points (N, 2) at random times, and the velocities there."""
    keys = jr.split(key)
    noise, t = jr.normal(keys[0], points.shape), jr.uniform(keys[1], points.shape[:1])
    at = (1 - t)[:, None] * noise + t[:, None] * points
    return {"at": at, "t": t, "velocity": points - noise}
