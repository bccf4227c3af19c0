"""The ladder: who climbs, what is written down, budgets, faults, and interrupted runs."""

import json

import numpy as np
import pytest

import amortppl as ap
from amortppl.errors import DataError
from amortppl.trust import ladder
from amortppl.trust.attempt import RUNGS
from amortppl.trust.checks import log_evidence
from conjugate import line_posterior
from spoiled import exact, spoiled

QUIET = {"log_likelihood": False, "predictive": False}


@pytest.fixture(scope="module")
def good(line_guide):
    return exact(line_guide)


@pytest.fixture(scope="module")
def wrong(good):
    """Sds at 0.4 of what they should be, means off by one: k-hat fails."""
    return spoiled(good, spread=0.4, shift=1.0)


def errors(post, data):
    """Largest error of a mean in sds, and of the logarithm of a sd, against the exact posterior."""
    mean, covariance = line_posterior(**data)
    sd, w = np.sqrt(np.diag(covariance)), post.posterior["w"].values[0]
    return np.max(np.abs(w.mean(0) - mean) / sd), np.max(np.abs(np.log(w.std(0) / sd)))


def test_a_good_answer_does_not_climb(good, line_data):
    post = good.infer(line_data, trust="ladder", **QUIET)
    stats = post.sample_stats
    assert str(stats["source"].values) == "amortized" and bool(stats["reliable"])
    assert (
        list(stats["rung"].values) == list(RUNGS)
        and np.isnan(stats["rung_seconds"].values[1:]).all()
    )


@pytest.mark.parametrize("rung", ["psis", pytest.param("nuts", marks=pytest.mark.slow)])
def test_a_rung_repairs_a_spoiled_guide(wrong, line_data, rung):
    """4000 draws of an effective size of 1000 and more: 0.15 is more than four Monte-Carlo sds."""
    before = wrong.infer(line_data, draws=4000, **QUIET)
    post = wrong.infer(line_data, draws=4000, trust="ladder", rungs=(rung,), **QUIET)
    assert max(errors(before, line_data)) > 0.5
    assert str(post.sample_stats["source"].values) == rung and bool(post.sample_stats["reliable"])
    assert max(errors(post, line_data)) < 0.15
    assert (
        str(post.sample_stats["rung_failed"].values[0])
        and float(post.sample_stats["rung_seconds"][RUNGS.index(rung)]) > 0
    )


def test_rungs_that_raise_or_fail_are_recorded(wrong, line_data, monkeypatch):
    """The exact method has no refinement; SVI is made to run out of memory; no k-hat can be below
    -10.
    """

    def no_memory(*_):
        raise MemoryError("out of memory")

    monkeypatch.setitem(ladder.CLIMB, "svi", no_memory)
    given = {"rungs": ("refined", "svi", "psis"), "khat": -10.0}
    post = wrong.infer(line_data, trust="ladder", **given, **QUIET)
    reasons = dict(zip(RUNGS, map(str, post.sample_stats["rung_failed"].values), strict=True))
    assert (
        "no refinement" in reasons["refined"]
        and "MemoryError: out of memory" in reasons["svi"]
        and "k-hat" in reasons["psis"]
    )
    assert not bool(post.sample_stats["reliable"])
    assert any(
        w.startswith("NOT RELIABLE, no rung passed") for w in json.loads(post.attrs["warnings"])
    )


def test_a_spent_budget_is_marked(wrong, line_data):
    post = wrong.infer(line_data, trust="ladder", budget=0, **QUIET)
    assert (
        not bool(post.sample_stats["reliable"])
        and str(post.sample_stats["source"].values) == "amortized"
    )
    assert any("budget of 0 s was spent" in w for w in json.loads(post.attrs["warnings"]))


@pytest.mark.slow
def test_an_interrupted_batch_keeps_what_was_finished(wrong, line_data, tmp_path, monkeypatch):
    """Twelve datasets climb by eights; the interrupt comes with the second call."""
    data = [{n: v + 0.001 * i for n, v in line_data.items()} for i in range(12)]
    given = {"trust": "ladder", "rungs": ("psis",), "keep": tmp_path / "kept", **QUIET}
    calls, real = [], ladder.CLIMB["psis"]

    def counted(run, places):
        calls.append(list(places))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(run, places)

    monkeypatch.setitem(ladder.CLIMB, "psis", counted)
    with pytest.raises(KeyboardInterrupt):
        wrong.infer(data, **given)
    post = wrong.infer(data, **given)
    assert calls[2] == calls[1] and bool(post.sample_stats["reliable"].all())
    with pytest.raises(DataError, match="other datasets"):
        wrong.infer(data[:11], **given)
    (tmp_path / "kept").write_bytes(b"cut short")
    with pytest.raises(DataError, match="keep"):
        wrong.infer(data, **given)


def test_bad_options(good, line_data):
    with pytest.raises(DataError, match="expected 'ladder'"):
        good.infer(line_data, trust="lader")
    with pytest.raises(DataError, match="no option of the ladder; did you mean 'budget'"):
        good.infer(line_data, trust="ladder", buget=3)
    with pytest.raises(DataError, match="needs trust='ladder'"):
        good.infer(line_data, budget=3)
    with pytest.raises(DataError, match="rungs"):
        good.infer(line_data, trust="ladder", rungs=("hmc",))
    with pytest.raises(DataError, match="for mini-batches"):
        good.infer(ap.batches(line_data, size=8), trust="ladder")


@pytest.mark.slow
def test_log_evidence_of_a_conjugate_model(good, line_guide, line_data):
    """log N(y; 0, I + x x'); the exact guide's weights are all equal, the trained one's nearly."""
    x, y = line_data["x"], line_data["y"]
    covariance = np.eye(len(y)) + x @ x.T
    sign, size = np.linalg.slogdet(covariance)
    true = -0.5 * (y @ np.linalg.solve(covariance, y) + size + len(y) * np.log(2 * np.pi))
    assert sign > 0
    for guide in (good, line_guide):
        stats = guide.infer(line_data, draws=4000, **QUIET).sample_stats
        assert abs(float(stats["log_evidence"]) - true) < 0.02 + 4 * float(
            stats["log_evidence_error"]
        )
        assert float(stats["log_evidence_error"]) < 0.02
    assert np.isnan(log_evidence(np.full((1, 9), np.nan), np.zeros((1, 9)))[0]).all()
