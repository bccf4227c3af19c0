"""Tasks of Pyro models: recognised by themselves, the same as their NumPyro twins; the command
line.
"""

import textwrap
from itertools import product

import pytest

pytest.importorskip("torch", reason="the extra `pyro` is not installed")

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import pyro.distributions as dist
import torch
from jax.scipy.stats import norm
from pyro.infer import config_enumerate
from scipy import stats
from scipy.special import logsumexp
from typer.testing import CliRunner

import amortppl as ap
import pyro
from amortppl.cli.commands import app
from amortppl.errors import ModelError
from amortppl.pyro import is_pyro
from amortppl.task.batch import Batch
from conjugate import mean_model
from pyro import poutine


def in_pyro(rows, y=None):
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("row", rows):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def through_a_helper(rows, y=None):
    return in_pyro(rows, y)


class Module(pyro.nn.PyroModule):
    def forward(self, rows, y=None):
        return in_pyro(rows, y)


def in_numpyro(rows, y=None):
    mean = numpyro.sample("mean", numpyro.distributions.Normal(0, 1))
    with numpyro.plate("row", rows):
        numpyro.sample("y", numpyro.distributions.Normal(mean, 1), obs=y)


@pytest.mark.parametrize(
    "model",
    [
        in_pyro,
        through_a_helper,
        Module(),
        poutine.scale(in_pyro, scale=1.0),
        config_enumerate(in_pyro),
    ],
)
def test_pyro_models_are_recognised(model):
    assert is_pyro(model)
    task = ap.Task(model, rows=(4, 32))
    assert task.latents.names == ["mean"]
    assert task.observed == {"y": "y"}


@pytest.mark.parametrize("model", [in_numpyro, mean_model, ap.from_pyro(in_pyro)])
def test_others_are_not(model):
    assert not is_pyro(model)


def test_linear_regression_is_its_twin():
    twin, original = ap.model("linear_regression_pyro"), ap.model("linear_regression")
    assert twin.fingerprint == original.fingerprint
    draw = jax.jit(original.simulate, static_argnums=1)(jr.key(0), 20)
    given = draw.latents, Batch(draw.data, jnp.ones(20, bool))
    np.testing.assert_allclose(
        jax.jit(twin.log_joint)(*given), jax.jit(original.log_joint)(*given), rtol=1e-6
    )


def test_inputs_described_by_pyro_and_torch():
    def line(x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(x @ w, 1.0), obs=y)

    for described in (dist.Normal(0.0, 1.0).expand([2]), torch.ones(30, 2)):
        assert ap.Task(line, {"x": described}, rows=(4, 8)).simulate(jr.key(0), 5).data[
            "x"
        ].shape == (5, 2)


def test_control_flow_is_told_by_site():
    def branching(rows, y=None):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("row", rows):
            pyro.sample("y", dist.Normal(a if a > 0 else -a, 1.0), obs=y)

    with pytest.raises(ModelError, match="'a'"):
        ap.Task(branching, rows=(4, 8))


@config_enumerate
def mixture(rows, y=None):
    w = pyro.sample("w", dist.Beta(2.0, 2.0))
    loc = pyro.sample("loc", dist.Normal(torch.tensor([-2.0, 2.0]), 1.0).to_event(1))
    with pyro.plate("n", rows):
        label = pyro.sample("label", dist.Bernoulli(w))
        pyro.sample("y", dist.Normal(loc[label.long()], 1.0), obs=y)


def test_enumerated_labels_are_summed_out():
    task = ap.Task(mixture, rows=(4, 8))
    draw = jax.jit(task.simulate, static_argnums=1)(jr.key(0), 6)
    latents, y = task.constrain(draw.latents, draw.data), draw.data["y"]
    parts = [
        jnp.log(p) + norm.logpdf(y, loc)
        for p, loc in zip((1 - latents["w"], latents["w"]), latents["loc"], strict=True)
    ]
    np.testing.assert_allclose(
        jax.jit(task.log_densities)(draw.latents, draw.data)[1], jnp.logaddexp(*parts), rtol=1e-5
    )


def test_hidden_markov_is_the_forward_algorithm():
    task = ap.model("hidden_markov_pyro")
    draw = jax.jit(task.simulate, static_argnums=1)(jr.key(0), 3)
    log_densities = jax.jit(task.log_densities)(draw.latents, draw.data)[1]
    latents = task.constrain(draw.latents, draw.data)
    stay, moves = latents["stay"], None
    moves = jnp.array([[stay[0], 1 - stay[0]], [1 - stay[1], stay[1]]])
    for series, log_density in zip(draw.data["y"], log_densities, strict=True):
        seen = norm.pdf(series[:, None], latents["level"], latents["sigma"])
        forward = jnp.full(2, 0.5) * seen[0]
        for step in seen[1:]:
            forward = forward @ moves * step
        np.testing.assert_allclose(log_density, jnp.log(forward.sum()), rtol=1e-4)


@pytest.mark.parametrize("states", [2, 6])
def test_observations_that_exclude_one_another_have_their_exact_density(states):
    """Of four far values two may favour one state and two another, by more nats than float32's
    exponents hold.
    """
    levels = torch.linspace(-2.0, 2.0, states)

    @config_enumerate
    def repeated(rows, y=None):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("n", rows):
            label = pyro.sample("label", dist.Categorical(torch.ones(states) / states))
            seen = [
                pyro.sample(
                    f"y_{t}",
                    dist.Normal(loc + levels[label], 0.5),
                    obs=None if y is None else y[:, t],
                )
                for t in range(4)
            ]
        return torch.stack(seen, -1)

    y = 20.0 * np.array(list(product((-1.0, 1.0), repeat=4)))
    at, data = jnp.zeros(1), {"y": jnp.asarray(y, jnp.float32)}
    task = ap.Task(repeated, rows=(4, 16))
    exact = logsumexp(stats.norm.logpdf(y[..., None], levels.numpy(), 0.5).sum(1), axis=1) - np.log(
        states
    )
    densities = jax.jit(lambda at: task.log_densities(at, data)[1])
    value, slope = jax.jit(jax.value_and_grad(lambda at: densities(at).sum()))(at)
    np.testing.assert_allclose(densities(at), exact, rtol=1e-6)
    np.testing.assert_allclose(value, exact.sum(), rtol=1e-6)
    assert jnp.isfinite(slope).all()


def test_what_is_returned_must_be_what_is_observed():
    @config_enumerate
    def wrong(rows, y=None):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("n", rows):
            label = pyro.sample("label", dist.Bernoulli(0.5))
            seen = [
                pyro.sample(
                    f"y_{t}", dist.Normal(loc + label, 1.0), obs=None if y is None else y[:, t]
                )
                for t in (0, 1)
            ]
        return torch.stack(seen[::-1], -1)

    with pytest.raises(ModelError, match="returns other values"):
        ap.Task(wrong, rows=(4, 8))


def test_a_latent_after_a_discrete_one_is_refused():
    @config_enumerate
    def dependent(y=None):
        label = pyro.sample("label", dist.Bernoulli(0.5))
        loc = pyro.sample("loc", dist.Normal(label, 1.0))
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    with pytest.raises(ModelError, match="depends on the discrete 'label'"):
        ap.Task(dependent, rows=None)


FILE = """
import pyro
import pyro.distributions as dist

TASK = {"rows": (4, 8)}

def model(rows, y=None):
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("row", rows):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)
"""


def test_the_command_line_takes_a_pyro_file(tmp_path):
    file, guide, data = tmp_path / "mine.py", tmp_path / "guide", tmp_path / "data.csv"
    file.write_text(textwrap.dedent(FILE))
    data.write_text("y\n" + "\n".join(["0.5", "1.0", "1.5", "0.2", "0.4"]))
    for command in (
        ["train", str(file), "--out", str(guide), "--method", "laplace", "--quiet"],
        ["infer", str(guide), str(data), "--out", str(tmp_path / "posterior.nc"), "--draws", "50"],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "posterior.nc").exists()
