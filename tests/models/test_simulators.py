"""Simulators of models/: what every one must do, and what is known of each without it."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import amortppl as ap
from amortppl import catalogue
from conjugate import TINY

NAMES = [
    n
    for n in catalogue.names("models")
    if not n.endswith("_pyro") and catalogue.has_simulator(catalogue.module("models", n))
]


def simulator(name):
    return catalogue.module("models", name).simulator


def many(name, count=None, seed=0, **given):
    """Simulations at fixed latents, or one long one."""
    if count is None:
        return jax.tree.map(np.asarray, simulator(name)(**given, key=jr.key(seed)))
    keys = jr.split(jr.key(seed), count)
    run = jax.jit(jax.vmap(lambda k: simulator(name)(**given, key=k)))
    return jax.tree.map(np.asarray, run(keys))


def test_there_are_simulators():
    assert len(NAMES) >= 9


@pytest.mark.parametrize("name", NAMES)
def test_it_simulates_finite_datasets_of_its_prior(name):
    task = ap.model(name)
    assert task.name == name and task.compiled and task.stored is None
    rows = 1 if task.block else 30
    draws = jax.jit(jax.vmap(lambda k: task.simulate(k, rows)))(jr.split(jr.key(0), 64))
    for values in jax.tree.leaves(draws):
        assert np.isfinite(values).mean() > 0.98 and np.ptp(np.asarray(values)) > 0
    assert task.ordered == catalogue.module("models", name).TASK.get("ordered", False)


def within(values, mean, sds=4.0):
    """The mean of independent values is a number, up to `sds` of its errors: once in 16,000."""
    values = np.asarray(values, np.float64)
    return abs(values.mean() - mean) < sds * values.std() / np.sqrt(len(values))


def test_exit_times_have_density_and_mean_one():
    time = jnp.geomspace(1e-3, 60.0, 20_000)
    density = np.asarray(
        catalogue.module("models", "drift_diffusion").exit_density(time), np.float64
    )
    assert np.trapezoid(density, time) == pytest.approx(1.0, abs=1e-3)
    assert np.trapezoid(density * np.asarray(time), time) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("drift", [-2.0, 0.3])
def test_drift_diffusion_has_walds_means(drift):
    """P(upper) = 1 / (1 + exp(-drift boundary)), E T = boundary / 2 / drift tanh(drift boundary/2)
    for either end.
    """
    made = many("drift_diffusion", drift=drift, boundary=1.6, non_decision=0.2, rows=20_000)
    assert within(made["choice"], 1 / (1 + np.exp(-1.6 * drift)))
    mean = 0.2 + 0.8 / drift * np.tanh(0.8 * drift)
    assert within(made["time"], mean) and made["time"].min() > 0.2
    assert within(made["time"][made["choice"]], mean)


def test_an_epidemic_is_bounded_and_dies_without_contacts():
    cases = many("stochastic_sir", 200, beta=0.5, gamma=0.1, reported=1.0)["cases"]
    assert (cases.sum(1) <= 990).all() and np.median(cases.sum(1)) > 800 and (cases >= 0).all()
    assert not many("stochastic_sir", 20, beta=0.0, gamma=0.1, reported=1.0)["cases"].any()
    first = many("stochastic_sir", 1000, beta=0.5, gamma=0.1, reported=0.5)["cases"][:, 0]
    assert within(first, 0.5 * 990 * -np.expm1(-0.5 * 10 / 1000))


def test_predators_and_prey_go_in_circles():
    """Without noise delta X - gamma log X + beta Y - alpha log Y stays; up to its step, and to the
    noise of the counts.
    """
    given = {"alpha": 0.7, "beta": 0.9, "gamma": 0.6, "delta": 0.8}
    log = many("lotka_volterra", 500, noise=0.0, **given)["animals"].mean(0)
    x, y = log.T
    kept = 0.8 * np.exp(x) - 0.6 * x + 0.9 * np.exp(y) - 0.7 * y
    assert np.ptp(x) > 0.5 and np.ptp(kept) < 0.08
    x, y = np.asarray(catalogue.module("models", "lotka_volterra_ode").solve(**given)).T
    kept = 0.8 * np.exp(x) - 0.6 * x + 0.9 * np.exp(y) - 0.7 * y
    assert np.ptp(x) > 0.5 and np.ptp(kept) < 1e-5


def test_g_and_k_has_its_quantiles():
    y = many("g_and_k", a=1.0, b=2.0, g=0.7, k=0.2, rows=40_000)["y"]
    z = np.array([-1.2816, 0.0, 1.2816])
    exact = 1 + 2 * (1 + 0.8 * np.tanh(0.35 * z)) * (1 + z**2) ** 0.2 * z
    np.testing.assert_allclose(np.quantile(y, [0.1, 0.5, 0.9]), exact, atol=0.12)  # 4 sds


def test_a_calm_ricker_population_rests_where_it_should():
    """Below r = e^2 the map has the fixed point N = log r."""
    y = many("ricker", 200, log_r=1.2, sigma=0.0, phi=10.0, rows=30)["y"]
    assert within(y[:, -1], 12.0) and within((y[:, -1] - 12.0) ** 2, 12.0)


def test_an_autoregression_is_stationary():
    partial, sigma = np.array([0.6, -0.4]), 0.5
    given = {"partial": jnp.array(partial), "weights": jnp.array([0.6 * 1.4, -0.4])}
    y = many("autoregression", 4000, sigma=sigma, rows=12, **given)["y"]
    variance = sigma**2 / np.prod(1 - partial**2)
    for t in (0, 11):
        assert within(y[:, t] ** 2, variance)
    assert within(y[:, 11] * y[:, 10], 0.6 * variance)


def test_returns_have_their_variances():
    given = {"level": 2.0, "alpha": 0.1, "beta": 0.7, "omega": 0.4}
    y = many("garch", 4000, rows=20, **given)["y"]
    assert within(y[:, -1] ** 2, 2.0) and within(y[:, -1] * y[:, -2], 0.0)
    y = many("stochastic_volatility", 8000, mu=-0.5, phi=0.9, sigma=0.3, rows=20)["y"]
    assert within(y[:, -1] ** 2, np.exp(-0.5 + 0.3**2 / (1 - 0.9**2) / 2))


def test_a_level_moves_and_is_seen_with_noise():
    y = many("local_level", 4000, sigma_level=0.5, sigma_noise=0.8, rows=10)["y"]
    step = np.diff(y)
    assert within(step[:, 5] ** 2, 0.5**2 + 2 * 0.8**2) and within(step[:, 5] * step[:, 6], -0.64)


@pytest.mark.slow
def test_its_guide_is_read_back_by_its_name(tmp_path):
    task = ap.model("g_and_k", rows=(10, 20))
    spec = ap.method("parametric", **TINY["parametric"])
    guide = ap.train(task, spec, steps=2, batch=8, progress=False)
    again = ap.load(guide.save(tmp_path / "guide"))
    assert again.hash == guide.hash and again.task.rows == (10, 20)
