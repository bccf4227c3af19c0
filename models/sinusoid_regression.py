"""Sinusoid regression, the few-shot task of MAML: amplitude and phase differ from task to task.

    amplitude ~ U(0.1, 5),  phase ~ U(0, pi),    y_i ~ N(amplitude sin(x_i - phase), 0.1^2),  x_i ~
    U(-5, 5)

Finn, Abbeel and Levine 2017, "Model-agnostic meta-learning", arXiv 1703.03400, section 5.1 (which
has no noise).
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

TASK = {"inputs": {"x": dist.Uniform(-5, 5)}, "rows": (5, 20)}


def model(x, y=None):
    """x (N,) in, y (N,) out."""
    amplitude = numpyro.sample("amplitude", dist.Uniform(0.1, 5.0))
    phase = numpyro.sample("phase", dist.Uniform(0.0, jnp.pi))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(amplitude * jnp.sin(x - phase), 0.1), obs=y)
