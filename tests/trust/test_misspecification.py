"""Strange data are told from those of the model, at a known rate of false alarms."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from amortppl.guide.guide import Guide
from amortppl.guide.load import load
from amortppl.trust import misspecification
from amortppl.trust.misspecification import FLAG, Familiarity, _rank
from spoiled import exact

QUIET = {"log_likelihood": False, "predictive": False, "draws": 100}
SETS = 60


@pytest.fixture(scope="module")
def good(as_many_as_users_have, line_guide):
    return exact(line_guide)


def simulated(change=None, rows=30):
    rng = np.random.default_rng(5)
    data = []
    for _ in range(SETS):
        x, w = rng.standard_normal((rows, 2)), rng.standard_normal(2)
        noise = rng.standard_normal(rows)
        if change == "outliers":
            noise[:2] += 8 * np.sign(noise[:2])
        if change == "wide noise":
            noise *= 2.5
        if change == "shifted x":
            x += 1.5
        data.append({"x": x, "y": x @ w + noise})
    return data


def flagged(guide, data):
    sample_stats = guide.infer(data, **QUIET).sample_stats
    return ((sample_stats["distance_p"] < FLAG) | (sample_stats["fit_p"] < FLAG)).values


@pytest.mark.slow
def test_false_alarms(good, line_guide):
    """Two p-values at level `FLAG` each: of 60 datasets of the model at most the 99.9% point of a
    binomial.
    """
    fresh = Guide(line_guide.method, line_guide.spec, line_guide.record, line_guide.seed)
    for guide in (good, fresh):
        assert flagged(guide, simulated()).sum() <= stats.binom.ppf(0.999, SETS, 2 * FLAG)


@pytest.mark.parametrize("change", ["outliers", "wide noise", "shifted x"])
def test_contaminated_data_are_flagged(good, change):
    """In 90 of 100; each fault is many sds large, so that a miss of more is not a matter of the
    seed.
    """
    assert flagged(good, simulated(change)).mean() >= 0.9


def test_says_what_does_not_fit(good):
    notes = json.loads(good.infer(simulated("outliers")[0], **QUIET).attrs["warnings"])
    assert any(
        "the model would not make such data" in s and ("tails" in s or "worst row" in s)
        for s in notes
    )


def test_certificate_keeps_it(mean_guide, tmp_path):
    again = load(mean_guide.save(tmp_path / "guide"))
    assert again._familiarity is not None
    np.testing.assert_allclose(
        again.familiarity.distances, mean_guide.familiarity.distances, rtol=1e-3
    )


def test_a_method_without_a_summary_has_no_distance():
    """NaN and no p-value, where 0 and p = 1 would say that each dataset is familiar."""
    assert np.isnan(Familiarity.distance(None, np.zeros((2, 0)))).all()
    assert np.isnan(_rank(np.full(3, np.nan), np.nan))


def test_tasks_of_as_many_rows_are_all_ranked_among():
    nearest = misspecification.NEAREST
    one = SimpleNamespace(rows=[7.0] * (2 * nearest))
    assert len(Familiarity._near(one, 7.0)) == 2 * nearest
    rows = np.repeat(np.arange(1.0, nearest + 1), 3)
    near = rows[Familiarity._near(SimpleNamespace(rows=rows), 1.0)]
    assert len(near) == nearest // 3 * 3 + 3 and near.max() == nearest // 3 + 1
