"""Frames of hierarchical models against exact posteriors: linear Gaussian, and a funnel by
quadrature.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.gaussian.nested_laplace import nested_laplace
from amortppl.gaussian.newton import newton_mode
from amortppl.gaussian.plates import Plates
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch

GROUPS = 8
PLATES = Plates((*range(GROUPS), -1))


def effects(noise, size=0.3):
    """Log joint of effects d_j ~ N(0, 1) and log tau ~ N(0, 1) of observed y_j ~ N(tau d_j,
    noise^2).
    """
    observed = size * jnp.linspace(-2.0, 2.0, GROUPS)

    def joint(u):
        d, log_tau = u[:-1], u[-1]
        miss = (observed - jnp.exp(log_tau) * d) / noise
        return -0.5 * (jnp.sum(miss**2) + jnp.sum(d**2) + log_tau**2)

    return joint, np.asarray(observed, np.float64)


def marginal(observed, noise):
    """Of log tau, y_j ~ N(0, tau^2 + noise^2): the mode, the sd of its Laplace approximation, the
    exact mean and sd.
    """
    grid = np.linspace(-6, 10, 32_001)
    variance = np.exp(2 * grid) + noise**2
    log = -0.5 * (grid**2 + GROUPS * np.log(variance) + np.sum(observed**2) / variance)
    top = log.argmax()
    curvature = (2 * log[top] - log[top - 1] - log[top + 1]) / (grid[1] - grid[0]) ** 2
    weight = np.exp(log - log.max())
    mean = np.average(grid, weights=weight)
    return grid[top], curvature**-0.5, mean, np.average((grid - mean) ** 2, weights=weight) ** 0.5


def search_from(noise, size=0.3, steps=40, plates=PLATES):
    joint, observed = effects(noise, size)
    mode = newton_mode(joint, jnp.zeros(GROUPS + 1), None, steps).location
    return mode, *jax.jit(lambda start: nested_laplace(joint, start, plates))(mode), observed


@pytest.mark.parametrize(
    ("noise", "size"), [(0.005, 0.3), (0.05, 0.3), (0.05, 100.0), (0.1, 100.0)]
)
def test_scale_of_effects_is_placed_by_its_marginal(noise, size):
    """The joint mode misses it by more than an sd: the volume around it falls as tau^-8, unseen.
    Far from the prior
    (5 sds, the last cases) twelve steps do not find that mode either."""
    joint_mode, frame, _, observed = search_from(noise, size, 12)
    mode, laplace, mean, sd = marginal(observed, noise)
    assert abs(joint_mode[-1] - mean) > sd
    assert abs(frame.location[-1] - mode) < 0.1 * sd
    np.testing.assert_allclose(
        1 / frame.factor[-1, -1], laplace, rtol=0.05
    )  # its factor is its marginal's


def test_effects_follow_the_scale():
    """Given log tau, d_j is normal about y_j tau / (tau^2 + noise^2), with precision 1 + tau^2 /
    noise^2.
    """
    _, frame, _, observed = search_from(0.05)
    tau = np.exp(float(frame.location[-1]))
    np.testing.assert_allclose(frame.location[:-1], observed * tau / (tau**2 + 0.05**2), rtol=1e-3)
    precision = np.asarray(frame.factor @ frame.factor.T)
    np.testing.assert_allclose(np.diag(precision)[:-1], 1 + (tau / 0.05) ** 2, rtol=1e-3)


def test_dependent_effects_cost_more_and_end_there_too():
    """Effects of which nothing is known have as many products as there are of them, and the same
    frame.
    """
    together = Plates((0,) * GROUPS + (-1,))
    assert (len(PLATES.independent_sets), len(together.independent_sets)) == (1, GROUPS)
    for a, b in zip(
        *(jax.tree.leaves(search_from(0.05, plates=p)[1:3]) for p in (PLATES, together)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("noise", [0.05, 0.3])
@pytest.mark.parametrize("sds", [-3.0, 3.0])
def test_funnel_follows_the_curve_and_the_width_of_the_effects(noise, sds):
    """Three sds of log tau away, it is within a hundredth of a width of the mode, and as wide as d
    given tau.
    """
    _, frame, funnel, observed = search_from(noise)
    tau = np.exp(float(frame.location[-1]) + sds / float(frame.factor[-1, -1]))
    mode, width = observed * tau / (tau**2 + noise**2), (1 + (tau / noise) ** 2) ** -0.5
    straight = frame.unwhiten(
        jnp.zeros(GROUPS + 1).at[-1].set(sds)
    )  # each d at its location given log tau
    np.testing.assert_allclose(funnel.forward(straight)[:-1], mode, atol=0.01 * width)
    wide = np.diag(funnel.jacobian(straight))[:-1] / np.diag(frame.factor)[:-1]
    np.testing.assert_allclose(wide, width, rtol=0.01)


def test_effects_that_no_mode_has():
    """theta_j ~ N(mu, tau^2), y_j ~ N(theta_j, 0.2^2): the joint density has no bound as tau falls
    with every theta_j
    at mu, where a search for its mode ends. From there it is a long way, and mu is far from the
    prior's centre."""
    noise, observed = 0.2, 3.0 + 0.25 * jnp.linspace(-2.0, 2.0, GROUPS)

    def joint(u):
        theta, log_tau, mu = u[:-2], u[-2], u[-1]
        rows = -0.5 * jnp.sum(((observed - theta) / noise) ** 2)
        effects = -0.5 * jnp.sum(((theta - mu) * jnp.exp(-log_tau)) ** 2) - GROUPS * log_tau
        return rows + effects - 0.5 * log_tau**2 - 0.5 * mu**2

    start = jnp.full(GROUPS + 2, 3.0).at[-2].set(-8.0)
    frame, _ = jax.jit(
        lambda start: nested_laplace(joint, start, Plates((*range(GROUPS), -1, -1)))
    )(start)
    grid, y = np.linspace(-6, 3, 9001), np.asarray(observed, np.float64)
    variance = np.exp(2 * grid) + noise**2
    mu = y.sum() / (variance + GROUPS)  # its mode given tau
    miss = np.sum((y[:, None] - mu) ** 2, 0)
    top = np.argmax(-0.5 * (GROUPS * np.log(variance) + miss / variance + grid**2 + mu**2))
    assert joint(start) > joint(jnp.array([*y, grid[top], mu[top]]))
    np.testing.assert_allclose(frame.location[-2:], [grid[top], mu[top]], atol=0.01)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 2, 0, 3, 1]])
def test_is_exact_for_a_linear_gaussian_model(order):
    """Whatever the order of the latents: group means N(mu, 1) with mu ~ N(0, 1), and a slope
    outside the plate.
    """
    rng = np.random.default_rng(0)
    design = rng.standard_normal((12, 5))
    prior = np.eye(5) + np.diag([0, 3.0, 0, 0, 0])
    precision = (25 * design.T @ design + prior)[np.ix_(order, order)]
    mean = rng.standard_normal(5)
    plates = Plates(tuple(0 if i < 3 else -1 for i in order))

    def joint(u):
        return -0.5 * (u - mean) @ jnp.asarray(precision, jnp.float32) @ (u - mean)

    frame, _ = nested_laplace(joint, jnp.zeros(5), plates)
    np.testing.assert_allclose(frame.location, mean, atol=2e-4)
    np.testing.assert_allclose(frame.factor @ frame.factor.T, precision, rtol=2e-3, atol=0.02)


ROWS = 96


def groups(group, y=None):
    """Rows of eight groups whose effects have a common scale."""
    log_tau = numpyro.sample("log_tau", dist.Normal(0.0, 1.0))
    with numpyro.plate("groups", GROUPS):
        effect = numpyro.sample("effect", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", group.shape[0]):
        numpyro.sample("y", dist.Normal(jnp.exp(log_tau) * effect[group], 0.1), obs=y)


@pytest.fixture(scope="module")
def method():
    task = ap.Task(
        groups, {"group": dist.Categorical(logits=jnp.zeros(GROUPS))}, rows=(ROWS // 2, ROWS)
    )
    return construct(ap.method("parametric", width=4, hidden=8).build, task, jr.key(0))


@pytest.mark.parametrize(
    ("way", "most"), [("at once", 0.4), ("two mini-batches", 0.7), ("combined", 1.0)]
)
def test_scale_of_effects_from_rows_in_parts(method, way, most):
    """Of an untrained guide, its frame alone is within so many sds; a frame at the joint mode is
    4.2 to 4.6 sds off.

    The mean and sd of log tau are known from the groups' means."""
    group, rng = np.arange(ROWS) % GROUPS, np.random.default_rng(1)
    y = (0.4 * rng.standard_normal(GROUPS))[group] + 0.1 * rng.standard_normal(ROWS)
    means = y.reshape(-1, GROUPS).mean(0)
    _, _, mean, sd = marginal(means, 0.1 / np.sqrt(ROWS / GROUPS))
    data = {"group": jnp.asarray(group), "y": jnp.asarray(y, jnp.float32)}
    half = ROWS // 2
    halves = [
        Batch({n: v[part] for n, v in data.items()}, jnp.ones(half, bool))
        for part in (slice(half), slice(half, ROWS))
    ]
    step = eqx.filter_jit(method.step)
    if way == "at once":
        state = step(method.init(), Batch(data, jnp.ones(ROWS, bool)))
    if way == "two mini-batches":
        state = step(step(method.init(), halves[0]), halves[1])
    if way == "combined":
        state = method.combine([step(method.init(), b) for b in halves])
    log_scales = method.readout(state).sample(jr.key(1), 4000)[0][:, -1]
    assert abs(log_scales.mean() - mean) < most * sd
    np.testing.assert_allclose(log_scales.std(), sd, rtol=0.25)
