"""Two-parameter logistic item response: any number of persons, each with answers to some items.

    difficulty_j ~ N(0, 1),    log discrimination_j ~ N(0, 0.5^2),    j = 1..8
    ability_p ~ N(0, 1),    y_i ~ Bernoulli(logit^-1(discrimination_{j_i} (ability_{p_i} -
    difficulty_{j_i})))

Abilities are integrated out person by person, and drawn given the items' parameters.

Birnbaum 1968, "Some latent trait models and their use in inferring an examinee's ability"; Bock and
Aitkin 1981, "Marginal maximum likelihood estimation of item parameters", Psychometrika 46.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

ITEMS = 8

TASK = {
    "inputs": {"item": dist.Categorical(logits=jnp.zeros(ITEMS))},
    "rows": (2, 12),
    "groups": {"person": (16, 128)},
}


def model(item, person, n_person, y=None):
    """Items (N,) from 0 to 7 and persons (N,) in, answers y (N,), 1 for right, out."""
    with numpyro.plate("items", ITEMS):
        difficulty = numpyro.sample("difficulty", dist.Normal(0, 1))
        discrimination = numpyro.sample("discrimination", dist.LogNormal(0, 0.5))
    with numpyro.plate("persons", n_person):
        ability = numpyro.sample("ability", dist.Normal(0, 1))
    with numpyro.plate("answer", item.shape[0]):
        logits = discrimination[item] * (ability[person] - difficulty[item])
        numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)
