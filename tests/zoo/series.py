"""Time series, state spaces and differential equations."""

import pyro.distributions as dist
import torch

import pyro
from zoo.registry import X, Y, counts, member, normal


@member(normal(30).cumsum(0))
def autoregression(y):
    a = pyro.sample("alpha", dist.Normal(0, 1))
    b = pyro.sample("beta", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    s = pyro.sample("s", dist.HalfCauchy(1.0))
    for t in range(2, len(y)):
        pyro.sample(f"y_{t}", dist.Normal(a + b[0] * y[t - 1] + b[1] * y[t - 2], s), obs=y[t])


@member(normal(15).cumsum(0))
def state_space(y):
    s = pyro.sample("s", dist.HalfNormal(1.0))
    z, states = torch.tensor(0.0), []
    for t in pyro.markov(range(len(y))):
        z = pyro.sample(f"z_{t}", dist.Normal(z, s))
        states.append(z)
    states = torch.stack(states)
    with pyro.plate("T", len(y)):
        pyro.sample("y", dist.StudentT(4.0, states, 0.5), obs=y)


@member(X, Y)
def written_in_place(x, y):
    s = pyro.sample("s", dist.HalfNormal(1.0))
    h = x.new_zeros(len(y))
    eps = pyro.sample("eps", dist.Normal(0.0, 1.0).expand([len(y)]).to_event(1))
    for t in range(1, len(y)):
        h[t] = 0.9 * h[t - 1] + s * eps[t]
    with pyro.plate("n", len(y)):
        pyro.sample("y", dist.Normal(h, 1.0), obs=y)


@member(normal(20))
def sequential_plate(y):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    for i in pyro.plate("n", len(y), subsample_size=20):
        pyro.sample(f"y_{i}", dist.Normal(a, 1.0), obs=y[i])


@member(0.1 * normal(30))
def stochastic_volatility(returns):
    sigma = pyro.sample("sigma", dist.Exponential(20.0))
    nu = pyro.sample("nu", dist.Exponential(0.1))
    steps = pyro.sample("steps", dist.Normal(torch.zeros(len(returns)), 1.0).to_event(1))
    volatility = pyro.deterministic("volatility", torch.exp((sigma * steps).cumsum(-1)))
    with pyro.plate("day", len(returns)):
        pyro.sample("r", dist.StudentT(nu + 2, 0.0, volatility), obs=returns)


@member(torch.tensor([[30.0, 4.0], [47.2, 6.1], [70.2, 9.8], [77.4, 35.2], [36.3, 59.4]]))
def lotka_volterra(seen):
    """Lynx and hares by Euler steps."""
    theta = pyro.sample(
        "theta", dist.LogNormal(torch.tensor([-0.6, -3.6, -0.25, -3.6]), 0.1).to_event(1)
    )
    sigma = pyro.sample("sigma", dist.LogNormal(-1.0, 0.5))
    prey, hunters = seen[0, 0], seen[0, 1]
    track = []
    for step in range(20):
        grow, eaten = theta[0] * prey, theta[1] * prey * hunters
        prey = prey + 0.2 * (grow - eaten)
        hunters = hunters + 0.2 * (theta[3] * prey * hunters - theta[2] * hunters)
        if step % 5 == 4:
            track.append(torch.stack([prey, hunters]))
    with pyro.plate("years", 4, dim=-2), pyro.plate("kinds", 2, dim=-1):
        pyro.sample(
            "y", dist.LogNormal(torch.stack(track).clamp(min=1e-3).log(), sigma), obs=seen[1:]
        )


@member(counts(torch.tensor([1.0, 2.0, 5.0, 9.0, 15.0, 20.0, 16.0, 9.0])))
def epidemic(cases):
    """Susceptible, infected, recovered."""
    rate = pyro.sample("rate", dist.LogNormal(0.0, 0.3))
    recovery = pyro.sample("recovery", dist.Beta(2.0, 4.0))
    reported = pyro.sample("reported", dist.Beta(2.0, 2.0))
    s, i = torch.tensor(99.0), torch.tensor(1.0)
    for t in range(len(cases)):
        new = rate * s * i / 100
        s, i = (s - new).clamp(min=0.1), i + new - recovery * i
        pyro.sample(f"cases_{t}", dist.Poisson(reported * new + 0.1), obs=cases[t])


@member(counts(torch.cat([torch.full((15,), 3.0), torch.full((15,), 1.0)])))
def change_point(y):
    """The rate changes at a time between the ends, smoothly."""
    early, late = (
        pyro.sample("early", dist.Gamma(2.0, 1.0)),
        pyro.sample("late", dist.Gamma(2.0, 1.0)),
    )
    tau = pyro.sample("tau", dist.Uniform(0.0, 30.0))
    with pyro.plate("year", len(y)) as year:
        before = torch.sigmoid(2 * (tau - year.float()))
        pyro.sample("y", dist.Poisson(before * early + (1 - before) * late), obs=y)


@member(normal(6))
def gaussian_hmm(y):
    s = pyro.sample("s", dist.LogNormal(0.0, 1.0))
    first = dist.Normal(0.0, 1.0).expand([1]).to_event(1)
    moves, seen = (
        dist.Normal(torch.zeros(6, 1), s).to_event(1),
        dist.Normal(torch.zeros(6, 1), 0.5).to_event(1),
    )
    pyro.sample(
        "y", dist.GaussianHMM(first, torch.eye(1), moves, torch.eye(1), seen), obs=y.unsqueeze(-1)
    )


@member(torch.randint(0, 3, (10,)))
def discrete_hmm(y):
    start = pyro.sample("start", dist.Dirichlet(torch.ones(2)))
    moves = pyro.sample("moves", dist.Dirichlet(torch.ones(2, 2)).to_event(1))
    emits = pyro.sample("emits", dist.Dirichlet(torch.ones(2, 3)).to_event(1))
    pyro.sample(
        "y", dist.DiscreteHMM(start.log(), moves.log(), dist.Categorical(emits), duration=10), obs=y
    )
