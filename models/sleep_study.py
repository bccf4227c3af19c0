"""Correlated intercepts and slopes: reaction times of any number of subjects over days.

    level ~ N(0, 1),  by_day ~ N(0, 0.5^2),  spread_k ~ HalfNormal(0.5),  correlation ~ LKJ(2)
    noise ~ HalfNormal(1),    effect_s ~ N((level, by_day), diag(spread) correlation diag(spread))
    y_i ~ N(effect_{s_i, 0} + day_i effect_{s_i, 1}, noise^2)

day_i is in units of their sd about their mean, y_i a standardised reaction time.

Belenky et al. 2003, "Patterns of performance degradation and restoration during sleep restriction
and subsequent recovery", Journal of Sleep Research 12; the table `sleepstudy` of R's lme4.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"day": dist.Uniform(-1.6, 1.6)},
    "rows": (2, 12),
    "groups": {"subject": (6, 40)},
    "dims": {"effect": ["term"], "spread": ["term"]},
    "coords": {"term": ["intercept", "day"]},
}


def model(day, subject, n_subject, y=None):
    """Days (N,) and subjects (N,) in, reaction times y (N,) out."""
    level = numpyro.sample("level", dist.Normal(0, 1))
    by_day = numpyro.sample("by_day", dist.Normal(0, 0.5))
    spread = numpyro.sample("spread", dist.HalfNormal(0.5).expand([2]).to_event(1))
    factor = numpyro.sample("factor", dist.LKJCholesky(2, 2.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    with numpyro.plate("subjects", n_subject):
        together = dist.MultivariateNormal(
            jnp.stack([level, by_day]), scale_tril=spread[:, None] * factor
        )
        effect = numpyro.sample("effect", together)
    with numpyro.plate("row", day.shape[0]):
        mean = effect[subject, 0] + effect[subject, 1] * day
        numpyro.sample("y", dist.Normal(mean, noise), obs=y)
