"""Crossed effects: every answer is of a subject and of an item.

    level ~ N(0, 1),  slope ~ N(0, 0.5^2),  by_subject, by_item ~ HalfNormal(0.7)
    noise ~ HalfNormal(1),    subject_s ~ N(0, by_subject^2),    item_j ~ N(0, by_item^2)
    y_i ~ N(level + subject_{s_i} + item_{j_i} + slope x_i, noise^2)

Baayen, Davidson and Bates 2008, "Mixed-effects modeling with crossed random effects for subjects
and items", Journal of Memory and Language 59.
"""

import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"x": dist.Normal(0, 1)},
    "rows": (32, 128),
    "groups": {"subject": (3, 8), "item": (3, 6)},
}


def model(x, subject, item, n_subject, n_item, y=None):
    """Covariate x (N,), subjects (N,) and items (N,) in, answers y (N,) out."""
    level = numpyro.sample("level", dist.Normal(0, 1))
    slope = numpyro.sample("slope", dist.Normal(0, 0.5))
    by_subject = numpyro.sample("by_subject", dist.HalfNormal(0.7))
    by_item = numpyro.sample("by_item", dist.HalfNormal(0.7))
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    with numpyro.plate("subjects", n_subject):
        of_subject = numpyro.sample("of_subject", dist.Normal(0, by_subject))
    with numpyro.plate("items", n_item):
        of_item = numpyro.sample("of_item", dist.Normal(0, by_item))
    with numpyro.plate("row", x.shape[0]):
        mean = level + of_subject[subject] + of_item[item] + slope * x
        numpyro.sample("y", dist.Normal(mean, noise), obs=y)
