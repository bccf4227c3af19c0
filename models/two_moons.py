"""Two moons: a simulator with two latents and a posterior of two crescents facing each other.

    theta ~ Uniform([-1, 1]^2)
    y = (-|theta_1 + theta_2|, -theta_1 + theta_2) / sqrt(2) + (r cos a + 0.25, r sin a)
    r ~ N(0.1, 0.01^2),  a ~ Uniform(-pi/2, pi/2)

Greenberg, Nonnenmacher and Macke 2019, "Automatic posterior transformation for likelihood-free
inference", arXiv 1905.07488; as in sbibm: Lueckmann et al. 2021, arXiv 2101.04653.
"""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

TASK = {"rows": None, "likelihood": False, "dims": {"theta": ["coordinate"], "y": ["coordinate"]}}

RADIUS = dist.Normal(0.1, 0.01)


class Crescent(dist.Distribution):
    """A half moon: loc + (r cos a + 0.25, r sin a).

    Its density at loc + (0.25, 0) + v, by change of variables from (r, a) with |dv / d(r, a)| =
    |r|:

        p = N(r; 0.1, 0.01^2) / (pi |r|),    r = sign(v_1) |v|
    """

    support = constraints.real_vector
    pytree_data_fields = ("loc",)

    def __init__(self, loc, *, validate_args=None):
        self.loc = loc
        super().__init__(jnp.shape(loc)[:-1], jnp.shape(loc)[-1:], validate_args=validate_args)

    def sample(self, key, sample_shape=()):
        """Draws of a radius and an angle, placed."""
        shape = sample_shape + self.batch_shape
        keys = jr.split(key)
        radius = RADIUS.sample(keys[0], shape)
        angle = jr.uniform(keys[1], shape, minval=-jnp.pi / 2, maxval=jnp.pi / 2)
        return self.loc + jnp.stack([radius * jnp.cos(angle) + 0.25, radius * jnp.sin(angle)], -1)

    def log_prob(self, value):
        """Exact log density."""
        across, along = jnp.moveaxis(value - self.loc, -1, 0)
        distance = jnp.hypot(across - 0.25, along)
        radius = jnp.where(across > 0.25, distance, -distance)
        return RADIUS.log_prob(radius) - jnp.log(jnp.pi * distance)


def model(y=None):
    """One observation y (2,) out."""
    theta = numpyro.sample("theta", dist.Uniform(-1, 1).expand([2]).to_event(1))
    loc = jnp.stack([-jnp.abs(theta[0] + theta[1]), theta[1] - theta[0]]) / jnp.sqrt(2.0)
    numpyro.sample("y", Crescent(loc), obs=y)


def exact_posterior(data, key, draws):
    """Independent draws from the posterior: theta (S, 2).

    y - crescent is linear in |theta_1 + theta_2| and theta_2 - theta_1, so crescents drawn from the
    simulator give theta; those are kept for which the absolute value is positive and theta in the
    prior's square.
    """
    generator = np.random.default_rng(np.asarray(jr.key_data(key)))
    y, kept = np.ravel(data["y"]).astype(np.float64), np.zeros((0, 2))
    while len(kept) < draws:
        radius, angle = (
            generator.normal(0.1, 0.01, draws),
            generator.uniform(-np.pi / 2, np.pi / 2, draws),
        )
        total = np.sqrt(2) * (radius * np.cos(angle) + 0.25 - y[0])
        gap = np.sqrt(2) * (y[1] - radius * np.sin(angle))
        signed = total * generator.choice([-1, 1], draws)
        theta = np.stack([signed - gap, signed + gap], -1) / 2
        kept = np.concatenate([kept, theta[(total > 0) & (np.abs(theta) < 1).all(-1)]])
    return {"theta": kept[:draws]}
