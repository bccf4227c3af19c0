"""A mixture of two Gaussians on the line, the label of each row summed out.

    share ~ Beta(2, 2),  means_1 ~ N(-1, 1),  log(means_2 - means_1) ~ N(1, 0.5^2),  log scales_k ~
    N(-0.5, 0.5^2) y_i ~ share N(means_1, scales_1^2) + (1 - share) N(means_2, scales_2^2)

The means are ordered, because otherwise exchanging the components leaves the density unchanged and
the posterior has two equal modes. Betancourt 2017, "Identifying Bayesian Mixture Models", Stan case
studies.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import OrderedTransform

TASK = {"rows": (50, 1000), "dims": {"means": ["component"], "scales": ["component"]}}


def model(rows, y=None):
    """A number of rows in, y (N,) out."""
    share = numpyro.sample("share", dist.Beta(2, 2))
    steps = dist.Normal(jnp.array([-1.0, 1.0]), jnp.array([1.0, 0.5])).to_event(1)
    means = numpyro.sample("means", dist.TransformedDistribution(steps, OrderedTransform()))
    scales = numpyro.sample("scales", dist.LogNormal(-0.5, 0.5).expand([2]).to_event(1))
    component = dist.Categorical(probs=jnp.stack([share, 1 - share]))
    with numpyro.plate("row", rows):
        numpyro.sample("y", dist.MixtureSameFamily(component, dist.Normal(means, scales)), obs=y)
