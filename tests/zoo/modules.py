"""PyroModules, torch modules and their parameters."""

import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn
from torch.distributions import constraints

import pyro
from zoo.registry import ZOO, Member, X, Y, member, normal, uniform


class NeuralRegression(PyroModule):
    """Every weight is sampled."""

    def __init__(self, hidden=5):
        super().__init__()
        self.fc1, self.fc2 = PyroModule[nn.Linear](3, hidden), PyroModule[nn.Linear](hidden, 1)
        self.fc1.weight = PyroSample(dist.Normal(0.0, 1.0).expand([hidden, 3]).to_event(2))
        self.fc1.bias = PyroSample(dist.Normal(0.0, 1.0).expand([hidden]).to_event(1))
        self.fc2.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, hidden]).to_event(2))
        self.fc2.bias = PyroSample(lambda self: dist.Normal(0.0, 1.0).expand([1]).to_event(1))

    def forward(self, x, y=None):
        mu = self.fc2(torch.tanh(self.fc1(x))).squeeze(-1)
        sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("obs", dist.Normal(mu, sigma), obs=y)
        return mu


class Parameters(PyroModule):
    """Weights are parameters."""

    def __init__(self):
        super().__init__()
        layers = PyroModule[nn.Linear](3, 4), nn.ReLU(), PyroModule[nn.Linear](4, 1)
        self.net = PyroModule[nn.Sequential](*layers)
        self.w = PyroParam(torch.tensor(2.0), constraint=constraints.positive)

    def forward(self, x, y=None):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, self.w))
            pyro.sample("obs", dist.Normal(self.net(x).squeeze(-1) + z, 1.0), obs=y)


class Bayesian(PyroModule[nn.Linear]):
    """Pyro's Bayesian regression tutorial, second part."""

    def __init__(self):
        super().__init__(3, 1)
        self.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 3]).to_event(2))
        self.bias = PyroSample(dist.Normal(0.0, 10.0).expand([1]).to_event(1))

    def forward(self, x, y=None):
        mean = super().forward(x).squeeze(-1)
        with pyro.plate("data", len(x)):
            return pyro.sample("obs", dist.Normal(mean, 1.0), obs=y)


ZOO["neural_regression"] = Member("neural_regression", NeuralRegression(), (X, Y))
ZOO["module_parameters"] = Member("module_parameters", Parameters(), (X, Y))
ZOO["bayesian_linear"] = Member("bayesian_linear", Bayesian(), (X, Y))

DECODER = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 6))
CELL = nn.GRUCell(1, 3)


@member(uniform(10, 6).round())
def decoder(x):
    pyro.module("decoder", DECODER)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), torch.ones(len(x), 2)).to_event(1))
        pyro.sample("x", dist.Bernoulli(logits=DECODER(z)).to_event(1), obs=x)


@member(normal(6))
def recurrent(y):
    """A gated recurrent cell drives a series."""
    pyro.module("cell", CELL)
    out = pyro.sample("out", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    state, last = torch.zeros(1, 3), torch.zeros(1, 1)
    for t in range(len(y)):
        state = CELL(last, state)
        pyro.sample(f"y_{t}", dist.Normal(state[0] @ out, 1.0), obs=y[t])
        last = y[t].reshape(1, 1)
