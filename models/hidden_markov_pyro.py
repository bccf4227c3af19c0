"""A hidden Markov model in Pyro: short series that switch between two states, which are summed out
exactly.

    stay_k ~ Beta(6, 2),  level ~ N((-1, 1), 0.5^2),  sigma ~ LogNormal(-0.5, 0.3^2)
    z_1 = 0 or 1 with equal probability,  z_t = z_{t-1} with probability stay_{z_{t-1}}
    y_t ~ N(level_{z_t}, sigma^2),  t = 1..8

Each row is one series of eight observations. Zucchini, MacDonald and Langrock 2016, "Hidden Markov
Models for Time Series", second edition, chapter 2.
"""

import pyro.distributions as dist
import torch
from pyro.infer import config_enumerate

import pyro

STEPS = 8

TASK = {
    "rows": (4, 64),
    "dims": {"stay": ["state"], "level": ["state"], "y": ["step"]},
    "coords": {"step": list(range(1, STEPS + 1))},
}


@config_enumerate
def model(rows, y=None):
    """A number of series in, y (N, 8) out."""
    stay = pyro.sample("stay", dist.Beta(6.0, 2.0).expand([2]).to_event(1))
    level = pyro.sample("level", dist.Normal(torch.tensor([-1.0, 1.0]), 0.5).to_event(1))
    sigma = pyro.sample("sigma", dist.LogNormal(-0.5, 0.3))
    to_one = torch.stack(
        [1 - stay[0], stay[1]]
    )  # probability of state 1 after state 0, after state 1
    seen = []
    with pyro.plate("row", rows):
        chance = torch.tensor(0.5)
        for t in pyro.markov(range(STEPS)):
            state = pyro.sample(f"state_{t}", dist.Bernoulli(chance)).long()
            observed = None if y is None else y[:, t]
            seen.append(pyro.sample(f"y_{t}", dist.Normal(level[state], sigma), obs=observed))
            chance = to_one[state]
    return torch.stack(seen, -1)
