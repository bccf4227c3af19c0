"""Laws of every conditional density."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.scipy.stats import norm

from amortppl import densities
from amortppl.densities.affine import Affine
from amortppl.densities.faded import Faded
from amortppl.runtime.numpy_evaluation import construct

START = {"diagonal": 1e-5, "gaussian": 1e-5, "triangular": 1e-5, "mixture": 0.3}
"""How near each family's log density is to the standard normal's at zero coefficients. A mixture
starts with its
components a little apart."""


@pytest.fixture(params=[*densities.FAMILIES, "affine"])
def family(request):
    """A family by its size; a spline flow's weights are as if trained, as it begins with none."""

    def make(size):
        if request.param == "affine":
            return Affine(construct(densities.density, "mixture", size, jr.key(0)))
        own = construct(densities.density, request.param, size, jr.key(0))
        trained = lambda a: a + 0.05 * jr.normal(jr.key(1), a.shape)  # noqa: E731
        return jax.tree.map(lambda a: trained(a) if eqx.is_inexact_array(a) else a, own)

    return make


@eqx.filter_jit
def log_probs(density, points, at):
    """Log densities at points (N, size)."""
    return jax.vmap(lambda p: density.log_prob(p, at))(points)


@eqx.filter_jit
def sample(density, key, at, draws):
    return density.sample(key, at, draws)


def coefficients(density, seed=0, scale=0.4):
    return scale * jr.normal(jr.key(seed), (density.coefficients,))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", START)
def test_standard_normal_at_zero(name, size):
    density = construct(densities.density, name, size, jr.key(0))
    z = jr.normal(jr.key(1), (7, size))
    log_prob = log_probs(density, z, jnp.zeros(density.coefficients))
    np.testing.assert_allclose(log_prob, norm.logpdf(z).sum(-1), atol=START[name])


def test_unknown_family():
    with pytest.raises(LookupError, match="did you mean 'gaussian'"):
        densities.density("gausian", 2, jr.key(0))


def test_integrates_to_one_on_the_line(family):
    density = family(1)
    grid = jnp.sinh(jnp.linspace(-7, 7, 20_001))
    heights = jnp.exp(log_probs(density, grid[:, None], coefficients(density)))
    np.testing.assert_allclose(np.trapezoid(heights, grid), 1.0, atol=1e-3)


@pytest.mark.slow
def test_integrates_to_one_on_the_plane(family):
    density = family(2)
    line = jnp.sinh(jnp.linspace(-5, 5, 401))
    points = jnp.stack(jnp.meshgrid(line, line, indexing="ij"), -1)
    heights = jnp.exp(log_probs(density, points.reshape(-1, 2), coefficients(density)))
    heights = heights.reshape(len(line), len(line))
    np.testing.assert_allclose(
        np.trapezoid(np.trapezoid(heights, line, axis=1), line), 1.0, atol=3e-3
    )


@pytest.mark.parametrize("size", [1, 3, 5])
def test_draws_report_their_density(family, size):
    density = family(size)
    at = coefficients(density, 2)
    z, log_prob = sample(density, jr.key(3), at, 200)
    assert z.shape == (200, size)
    again = log_probs(density, z, at)
    np.testing.assert_allclose(log_prob, again, rtol=1e-3, atol=5e-3)


def test_draws_follow_the_density(family):
    """Share of 20,000 draws below each decile of the integrated density; a correct program exceeds
    5 binomial standard errors at one of nine points for fewer than one seed in 10^5."""
    density = family(1)
    at = coefficients(density, 4)
    z = np.sort(np.asarray(sample(density, jr.key(5), at, 20_000)[0][:, 0]))
    grid = np.sinh(np.linspace(-7, 7, 20_001))
    heights = np.exp(log_probs(density, jnp.asarray(grid)[:, None], at))
    cumulated = np.concatenate([[0], np.cumsum((heights[1:] + heights[:-1]) / 2 * np.diff(grid))])
    levels = np.arange(0.1, 1, 0.1)
    shares = np.searchsorted(z, np.interp(levels, cumulated, grid)) / len(z)
    assert np.all(np.abs(shares - levels) < 5 * np.sqrt(levels * (1 - levels) / len(z)) + 1e-3)


def test_what_a_flow_changes_fades_evenly():
    """A quarter of the change of a mean at a share of a quarter, and at one the flow itself."""
    flow = densities.Triangular(2)
    faded, own = Faded(flow), coefficients(flow, 7)
    at = {share: jnp.append(own, share) for share in (0.25, 1.0)}
    whole, log_whole = sample(flow, jr.key(8), own, 20_000)
    (z, log_prob), same = (sample(faded, jr.key(8), a, 20_000) for a in at.values())
    np.testing.assert_array_equal(same[0], whole)
    np.testing.assert_allclose(same[1], log_whole, rtol=1e-6)
    np.testing.assert_allclose(log_prob[:200], log_probs(faded, z[:200], at[0.25]), atol=5e-3)
    # Standard errors 0.007 and a quarter of the flow's: 5 of them once in 10^6.
    np.testing.assert_allclose(z.mean(0), whole.mean(0) / 4, atol=0.05)
    slope = jax.grad(lambda own: faded.log_prob(z[0], jnp.append(own, 1.0)))(own)
    assert np.isfinite(np.asarray(slope)).all()


def test_gradients_are_finite_far_out(family):
    density = family(2)

    slopes = jax.jit(jax.grad(lambda at, z: density.log_prob(z, at)))
    for scale in (1.0, 10.0):
        slope = slopes(coefficients(density, 6, scale), jnp.array([8.0, -8.0]))
        assert np.isfinite(np.asarray(slope)).all()
