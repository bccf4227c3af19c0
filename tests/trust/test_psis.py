"""k-hat against cases whose answer is known."""

import json

import numpy as np
import pytest
from scipy import stats

from amortppl.report.summary import verdict_of
from amortppl.trust.psis import check, moment_shifts, verdict
from spoiled import exact, far_out


def test_a_perfect_guide():
    log_q = np.random.default_rng(0).standard_normal((3, 500))
    result = check(log_q - 7.0, log_q)
    assert np.all(result.khat < 0.5)
    np.testing.assert_allclose(result.sample_size, 500, rtol=1e-3)
    np.testing.assert_allclose(np.logaddexp.reduce(result.log_weights, -1), 0, atol=1e-6)


@pytest.mark.parametrize("units", [1, 2, 5])
def test_weights_equal_up_to_rounding_are_those_of_a_perfect_guide(units):
    """Of which a Pareto fit to the tail, a few distinct numbers, has no k-hat."""
    rng = np.random.default_rng(3)
    log_q = rng.standard_normal((20, 1000))
    rounding = rng.integers(-units, units + 1, log_q.shape) * 2.0**-22
    assert np.all(check(log_q + rounding, log_q).khat <= 0.0)


@pytest.mark.parametrize(("scale", "low", "high"), [(2.0, -np.inf, 0.5), (0.4, 0.7, np.inf)])
def test_wide_guides_pass_and_narrow_guides_fail(scale, low, high):
    """q = N(0, scale^2) for p = N(0, 1): the ratio's tail index is 1 - scale^2 where scale < 1."""
    draws = scale * np.random.default_rng(1).standard_normal((1, 4000))
    khat = check(stats.norm.logpdf(draws), stats.norm.logpdf(draws, 0, scale)).khat[0]
    assert low < khat < high


def test_a_guide_far_too_narrow_misleads_though_its_weights_pass():
    """q = N(0, 0.62^2) for p = N(0, 1): k-hat near 1 - 0.62^2 = 0.62, sds 38% too small."""
    draws = 0.62 * np.random.default_rng(5).standard_normal((1, 4000, 1))
    result = check(stats.norm.logpdf(draws[..., 0]), stats.norm.logpdf(draws[..., 0], 0, 0.62))
    moved = moment_shifts(draws, result)
    assert result.khat[0] < 0.7 and moved.mean[0] < 0.3
    assert verdict(result.khat[0], moved.mean[0], moved.sd[0]).startswith("usable by importance")


def said_to_mislead(vectors, joint, log_q):
    """Of answers with a k-hat below 0.5, and of those with 0.5 to 0.7, which are said to mislead;
    of draws (T, S, P), log joint and log q (T, S).
    """
    result = check(joint, log_q)
    moved = moment_shifts(vectors, result)
    figures = np.stack([result.khat, moved.mean, moved.sd, result.sample_size], 1)
    draws, heavy = joint.shape[1], result.khat >= 0.5
    told = np.array([verdict(*f, draws).startswith("usable by importance") for f in figures])
    light, heavy = told[~heavy], told[heavy & (result.khat < 0.7)]
    assert len(light) >= 20 and len(heavy) >= 20
    return light, heavy


@pytest.mark.parametrize("shape", [3, 10])
def test_a_gaussian_at_the_mode_misleads(shape):
    """log theta of a gamma of shape 3 or 10, two of them: means 0.28 and 0.157 sds off. Of 100
    answers each is marked whatever its k-hat; at limits of 0.3 sds half of the first are, with a
    k-hat from 0.5 on, and nearly none of the others.
    """
    z = np.random.default_rng(7).standard_normal((100, 1000, 2))
    x = np.log(shape) + z / np.sqrt(shape)
    joint = (shape * x - np.exp(x)).sum(-1)
    assert np.concatenate(said_to_mislead(z, joint, -0.5 * (z**2).sum(-1))).all()


def test_a_gaussian_with_right_moments_does_not_mislead_though_tails_are_heavier():
    """Five latents with tails of a Student t of 15 degrees of freedom; 0 of 300 were marked."""
    z = np.random.default_rng(8).standard_normal((150, 1000, 5))
    square = (z**2).sum(-1)
    marked = said_to_mislead(z, -10 * np.log1p(square / 13), -0.5 * square)
    assert not np.concatenate(marked).any()


def test_weights_mend_a_shifted_guide():
    """Mean of p = N(0, 1) by 20,000 draws from N(0.5, 1.2^2): 5 standard errors are 0.05."""
    draws = 0.5 + 1.2 * np.random.default_rng(2).standard_normal((1, 20_000))
    result = check(stats.norm.logpdf(draws), stats.norm.logpdf(draws, 0.5, 1.2))
    assert abs(np.sum(np.exp(result.log_weights) * draws)) < 0.05


def test_a_degenerate_joint_never_looks_good():
    log_q = np.random.default_rng(3).standard_normal((1, 500))
    joint = np.full((1, 500), -np.inf)
    assert not check(joint, log_q).khat[0] < 0.7
    joint[0, 0] = 0.0
    assert not check(joint, log_q).khat[0] < 0.7
    joint[0, 1:] = np.nan
    assert not check(joint, log_q).khat[0] < 0.7


@pytest.mark.parametrize("span", [600.0, 5e3, 1e6])
def test_weights_too_far_apart_for_a_tail_are_not_reliable(span):
    """Log ratios evenly spread over so many nats: one draw holds all, and what is not a number must
    not pass unsaid.
    """
    result = check(-np.linspace(0, span, 500)[None], np.zeros((1, 500)))
    assert result.khat[0] > 0.7 and np.isfinite(result.log_weights).all()
    assert result.sample_size[0] < 5 and "not reliable" in verdict(result.khat[0])


@pytest.mark.parametrize("held", [20, 100])
def test_ties_in_the_tail_are_no_crash(held):
    """All weight on a few draws, equally: a degenerate guide."""
    log_q = np.random.default_rng(4).standard_normal((1, 500))
    joint = np.full((1, 500), -np.inf)
    joint[0, :held] = log_q[0, :held]
    assert not check(joint, log_q).khat[0] < 0.7


def test_a_model_without_a_likelihood_is_not_checked():
    assert np.isnan(check(np.full((2, 50), np.nan), np.zeros((2, 50))).khat).all()


def test_draws_far_out_mislead(line_guide, line_data):
    """2% of the draws are 3000 times too far out: k-hat does not see them, sds do; the ladder puts
    it right.

    Of 1000 draws none is far out with probability 2e-9; weights of the others are equal.
    """
    post = far_out(line_guide).infer(line_data)
    stats, notes = post.sample_stats, json.loads(post.attrs["warnings"])
    right = exact(line_guide).infer(line_data)
    ratio = post.posterior["w"].std(("chain", "draw")) / right.posterior["w"].std(("chain", "draw"))
    assert stats["khat"] < 0.5 and stats["sd_moved"] > 2 and np.all(ratio > 10)
    assert any("plain draws mislead" in note and "sd of w[" in note for note in notes)
    assert verdict_of(post).startswith("usable by importance weights only")
    climbed = far_out(line_guide).infer(line_data, trust="ladder")
    assert bool(climbed.sample_stats["reliable"]) and climbed.sample_stats["sd_moved"] < 0.03
    assert not any("mislead" in note for note in json.loads(climbed.attrs["warnings"]))
    assert right.sample_stats["sd_moved"] < 0.01 and right.sample_stats["mean_moved"] < 0.01
    assert verdict_of(right).startswith("good")
    assert far_out(line_guide).infer([line_data, line_data]).sample_stats["sd_moved"].dims == (
        "task",
    )


def test_weights_that_are_not_known_move_nothing():
    shift = moment_shifts(np.ones((2, 50, 1)), check(np.full((2, 50), np.nan), np.zeros((2, 50))))
    assert np.isnan(shift.mean).all() and np.isnan(shift.sd).all()


def test_verdicts():
    verdicts = [verdict(k).split(":")[0] for k in (0.1, 0.6, 0.9, np.inf, np.nan)]
    assert verdicts == ["good", "usable", "not reliable", "not reliable", "not checked"]
