"""Streams of mini-batches: exactness, order, passes, interruption. Seeded; conjugate models give
the truth.

The location of the state's frame is compared, which is not random; so no correct program fails.
"""

import itertools
import json
import shutil

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import amortppl as ap
from amortppl.errors import DataError, GuideError, OutOfRangeWarning
from amortppl.gaussian import third_order
from amortppl.posterior import stream as engine
from amortppl.posterior.stream_likelihood import Likelihood
from conjugate import SMALL, line_posterior, untrained
from spoiled import far_out


def logit_model(x, y=None):
    """An intercept, without which the order of y would not matter, a weight, a yes or no for each
    row.
    """
    level = numpyro.sample("level", dist.Normal(0, 1))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=level + slope * x), obs=y)


@pytest.fixture(scope="module")
def logit_guide():
    task = ap.Task(logit_model, {"x": dist.Normal(0, 1)}, rows=(8, 64))
    return untrained(task, ap.method("parametric", **SMALL))


@pytest.fixture(scope="module")
def rows():
    """20,000 rows of `line_model`."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((20_000, 2)).astype(np.float32)
    return {"x": x, "y": (x @ [0.5, -1.0] + rng.standard_normal(20_000)).astype(np.float32)}


@pytest.fixture(scope="module")
def votes():
    """20,000 rows of `logit_model`."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal(20_000).astype(np.float32)
    return {"x": x, "y": (rng.random(20_000) < 1 / (1 + np.exp(1.0 * x - 0.5))).astype(np.int32)}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks in a small source."""
    monkeypatch.setattr(engine, "ROWS", 4096)


def frame(state):
    """Mean and covariance of the frame, unconstrained."""
    readout = state.posterior
    inverse = np.linalg.inv(np.asarray(readout.frame.factor, np.float64))
    scale = np.diag(np.asarray(readout.scale.scale))
    return np.asarray(
        readout.scale.restore(readout.frame.location)
    ), scale @ inverse.T @ inverse @ scale


def last(guide, data, size=512, **options):
    """The state after all rows."""
    given = {k: options.pop(k) for k in ("shuffle", "columns") if k in options}
    source = data if isinstance(data, ap.Batches) else ap.batches(data, size, **given)
    return list(guide.stream(source, progress=False, every=10**9, **options))[-1]


def apart(state, truth):
    """Distance of the means, in sds."""
    (mean, _), (other, covariance) = frame(state), truth
    return np.abs(mean - other) / np.sqrt(np.diag(covariance))


def newton(data):
    """Mode and inverse curvature of `logit_model` in float64."""
    x, y, w = np.stack([np.ones(20_000), data["x"].astype(np.float64)], 1), data["y"], np.zeros(2)
    for _ in range(20):
        p = 1 / (1 + np.exp(-x @ w))
        curvature = np.eye(2) + (x * (p * (1 - p))[:, None]).T @ x
        w = w + np.linalg.solve(curvature, x.T @ (y - p) - w)
    return w, np.linalg.inv(curvature)


def exact(data):
    """Mean and covariance of `logit_model`'s posterior: quadrature on a grid of 8 sds about the
    mode, in float64.
    """
    mode, covariance = newton(data)
    x, y, factor = data["x"].astype(np.float64), data["y"], np.linalg.cholesky(covariance)
    z = np.stack(np.meshgrid(*2 * [np.linspace(-8, 8, 41)]), -1).reshape(-1, 2)
    points = mode + z @ factor.T
    logits = points[:, :1] + points[:, 1:] * x
    height = (y * logits - np.logaddexp(0, logits)).sum(1) - 0.5 * (points**2).sum(1)
    weight = np.exp(height - height.max())
    mean = np.average(points, 0, weight)
    return mean, np.cov(points, rowvar=False, aweights=weight, ddof=0)


@pytest.mark.slow
def test_what_early_mini_batches_missed_is_corrected_later(logit_guide, votes, monkeypatch):
    """Forty mini-batches of 512: within 0.01 sd of the exact mean, several times nearer than
    without. Not random.
    """
    truth = exact(votes)
    near = apart(last(logit_guide, votes), truth)
    monkeypatch.setattr(third_order, "GROWTH", np.inf)
    jax.clear_caches()
    far = apart(last(logit_guide, votes), truth)
    jax.clear_caches()
    assert np.all(near < 0.01) and far.max() > 5 * near.max()


@pytest.mark.parametrize("size", [33, 512, 20_000])
def test_one_pass_is_exact_for_a_conjugate_model(line_guide, rows, size):
    state = last(line_guide, rows, size)
    mean, covariance = line_posterior(rows["x"], rows["y"])
    assert state.rows == 20_000 and state.steps == -(-20_000 // size) and state.place.done
    assert np.all(apart(state, (mean, covariance)) < 0.02)
    np.testing.assert_allclose(frame(state)[1], covariance, rtol=0.01, atol=1e-7)


@pytest.mark.slow
def test_far_beyond_the_rows_trained_on_the_draws_are_right(line_guide, rows):
    """Error of a mean of 20,000 draws is 0.007 sd: a correct program fails once in about 10^8 (five
    sigma).
    """
    tree = line_guide.infer(ap.batches(rows, 512), draws=20_000)
    mean, covariance = line_posterior(rows["x"], rows["y"])
    drawn = tree["posterior"]["w"].values[0]
    sd = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(drawn.mean(0) - mean) / sd < 0.06)
    np.testing.assert_allclose(drawn.std(0) / sd, 1.0, atol=0.04)
    assert int(tree["sample_stats"]["rows"]) == 20_000


def test_a_step_is_compiled_once_for_every_size(line_guide, rows, compilations):
    """Compiled ahead, from blanks in the place of the state that the first step returns: the call
    must find it.
    """
    jax.clear_caches()
    for cut in (20_000, 13_001, 9_000):
        line_guide.infer(ap.batches({n: v[:cut] for n, v in rows.items()}, 512), draws=10)
    assert [compilations.count(f"jit({n})") for n in ("_first_step", "_advance", "_sample")] == [
        1,
        1,
        1,
    ]


def test_sorted_rows_hardly_matter(logit_guide, votes):
    """All zeros, then all ones: read in a shuffled order by default."""
    order = np.argsort(votes["y"], kind="stable")
    arranged = last(logit_guide, {n: v[order] for n, v in votes.items()})
    assert np.all(apart(arranged, newton(votes)) < 0.1)
    assert np.all(apart(arranged, frame(last(logit_guide, votes))) < 0.1)


@pytest.mark.slow
def test_sorted_rows_in_their_order_are_noticed(logit_guide, votes):
    order = np.argsort(votes["y"], kind="stable")
    arranged = ap.batches({n: v[order] for n, v in votes.items()}, 512, shuffle=None)
    warned = json.loads(logit_guide.infer(arranged, draws=10).attrs["warnings"])
    assert any("an order that matters" in note for note in warned)
    warned = json.loads(logit_guide.infer(arranged, draws=10, passes=2).attrs["warnings"])
    assert any("moved the posterior" in note for note in warned)
    calm = json.loads(
        logit_guide.infer(ap.batches(votes, 512), draws=10, passes=2).attrs["warnings"]
    )
    assert not any("order" in note or "moved" in note for note in calm)


def test_values_outside_the_range_are_told_once_and_kept(logit_guide, votes, tmp_path):
    far = {**votes, "x": np.where(np.arange(20_000) < 12_000, votes["x"], 40 + votes["x"])}
    source = ap.batches(far, 512, shuffle=None)
    with pytest.warns(OutOfRangeWarning, match=r"from row \d+ on, x spans"):
        *_, state = logit_guide.stream(source, progress=False)
    assert logit_guide.load_state(state.save(tmp_path / "state")).outside == state.outside != ()
    assert any(
        "outside the range" in note
        for note in json.loads(logit_guide.infer(state).attrs["warnings"])
    )
    assert last(logit_guide, votes).outside == ()


def test_a_second_pass_counts_nothing_twice(logit_guide, votes):
    one, two = (last(logit_guide, votes, passes=p) for p in (1, 2))
    mean, covariance = newton(votes)
    assert two.rows == one.rows == 20_000
    np.testing.assert_allclose(frame(two)[1], covariance, rtol=0.02, atol=1e-7)
    assert np.all(apart(two, (mean, covariance)) < 0.03)
    for state in itertools.islice(
        logit_guide.stream(ap.batches(votes, 512), passes=2, progress=False), 41, None, 5
    ):
        np.testing.assert_allclose(frame(state)[1], covariance, rtol=0.05, atol=1e-7)


@pytest.mark.parametrize(("passes", "broken"), [(1, 3), (2, 3), (2, 6)])
def test_a_killed_stream_goes_on_to_the_same_bits(logit_guide, votes, tmp_path, passes, broken):
    whole = last(logit_guide, votes, passes=passes)
    states = logit_guide.stream(
        ap.batches(votes, 512), passes=passes, progress=False, keep=tmp_path / "state"
    )
    for _ in range(8 * broken + 3):
        next(states)
    states.close()
    kept = logit_guide.load_state(tmp_path / "state")
    assert kept.place.rows % 4096 == 0 and not kept.place.done
    resumed = last(logit_guide, votes, state=kept, passes=passes)
    assert resumed.rows == whole.rows
    jax.tree.map(np.testing.assert_array_equal, resumed.value, whole.value)


def test_tomorrows_rows_update_yesterdays_posterior(line_guide, rows, tmp_path):
    days = [{n: v[i::2] for n, v in rows.items()} for i in range(2)]
    yesterday = last(line_guide, days[0], keep=tmp_path / "state")
    today = last(line_guide, days[1], state=line_guide.load_state(tmp_path / "state"), passes=2)
    assert yesterday.rows == 10_000 and today.rows == 20_000
    assert np.all(apart(today, line_posterior(rows["x"], rows["y"])) < 0.02)
    np.testing.assert_allclose(
        frame(today)[1], line_posterior(rows["x"], rows["y"])[1], rtol=0.01, atol=1e-7
    )


def test_shards_combine_into_their_union(logit_guide, votes):
    shards = [last(logit_guide, ap.batches(votes, 512, shard=(i, 8))) for i in range(8)]
    union = ap.combine(shards)
    assert union.rows == 20_000
    assert np.all(apart(union, frame(last(logit_guide, votes))) < 0.1)
    assert np.all(apart(union, newton(votes)) < 0.1)
    assert ap.combine([union]).rows == 20_000


def test_gathering_alone_gives_ones_own(line_guide, line_data):
    state = line_guide.step(line_guide.init(), line_data)
    (own,) = ap.all_gather(state)
    assert own.rows == 20
    jax.tree.map(np.testing.assert_array_equal, own.value, state.value)


def test_moments_come_every_so_many_rows(line_guide, rows):
    seen = [s.rows for s in line_guide.stream(ap.batches(rows, 512), every=5000, progress=False)]
    assert seen == [5120, 10240, 15360, 20_000]
    tree = line_guide.infer(ap.batches(rows, 512), every=5000, draws=10)
    assert tree["trace"]["w_mean"].dims == ("seen", "covariate")
    assert tree["trace"]["seen"].values.tolist() == seen
    sds = tree["trace"]["w_sd"].values[:, 0]
    np.testing.assert_allclose(sds * np.sqrt(seen), sds[0] * np.sqrt(seen[0]), rtol=0.15)


def test_every_state_has_seen_the_rows_that_it_counts(line_guide, rows):
    """The first step takes 128 rows at once; states asked for before have seen fewer."""
    few = {n: v[:300] for n, v in rows.items()}
    states = list(line_guide.stream(ap.batches(few, 32, shuffle=None), progress=False))
    assert [s.rows for s in states] == [*range(32, 300, 32), 300]
    for state in states:
        mean, covariance = line_posterior(few["x"][: state.rows], few["y"][: state.rows])
        assert (apart(state, (mean, covariance)) < 0.05).all(), state.rows
    by_hand = line_guide.step(line_guide.init(), {n: v[:32] for n, v in few.items()})
    np.testing.assert_allclose(frame(states[0])[0], frame(by_hand)[0], rtol=1e-4)


def test_a_stream_is_checked_on_request(line_guide, rows):
    few = {n: v[:3000] for n, v in rows.items()}
    tree = line_guide.infer(ap.batches(few, 512), draws=500)
    assert (
        float(tree["sample_stats"]["khat"]) < 0.7 and float(tree["sample_stats"]["sd_moved"]) < 0.5
    )
    tree = line_guide.infer(ap.batches(few, 512), draws=500, check=False)
    assert np.isnan(float(tree["sample_stats"]["khat"]))
    assert any("check=True" in note for note in json.loads(tree.attrs["warnings"]))


def test_draws_far_out_of_a_stream_mislead(line_guide, rows):
    """Of 500 draws none is far out with probability 4e-5; k-hat does not see them."""
    few = {n: v[:3000] for n, v in rows.items()}
    tree = far_out(line_guide).infer(ap.batches(few, 512), draws=500)
    assert float(tree["sample_stats"]["khat"]) < 0.7 and float(tree["sample_stats"]["sd_moved"]) > 2
    assert any("plain draws mislead" in note for note in json.loads(tree.attrs["warnings"]))


def test_a_wrong_posterior_fails_the_check(line_guide, rows):
    """A frame moved by three sds: importance weights of draws from it have no finite variance."""
    few = {n: v[:3000] for n, v in rows.items()}
    tree = line_guide.infer(
        ap.batches({"x": few["x"], "y": few["y"] + 0.2 * few["x"][:, 0]}, 512), draws=500
    )
    drawn = np.asarray(tree["posterior"]["w"].values[0], np.float32)
    from amortppl.trust import psis

    relative = Likelihood(line_guide, drawn).over(ap.batches(few, 512))
    assert (
        psis.check(relative[None], np.asarray(tree["sample_stats"]["log_guide"].values))[0][0] > 0.7
    )


def test_a_state_has_a_posterior_as_it_stands(line_guide, line_data):
    state = line_guide.step(line_guide.init(), line_data)
    tree = line_guide.infer(state, draws=50)
    assert tree["posterior"]["w"].shape == (1, 50, 2) and int(tree["sample_stats"]["rows"]) == 20


def test_progress_is_told_by_rows(line_guide, rows, capsys):
    list(line_guide.stream(ap.batches(rows, 512), every=10**9))
    printed = capsys.readouterr().err
    assert "streaming dict, 20000 rows, shuffled by 0" in printed and "rows 20,000  100%" in printed


def test_bad_states_are_named(line_guide, mean_guide, line_data, tmp_path):
    state = line_guide.step(line_guide.init(), line_data)
    place = state.save(tmp_path / "state")
    with pytest.raises(GuideError, match="the state of another guide"):
        mean_guide.load_state(place)
    with pytest.raises(GuideError, match="is of another guide"):
        ap.combine([state, mean_guide.step(mean_guide.init(), {"y": np.zeros(4)})])
    with pytest.raises(GuideError, match="at least one state"):
        ap.combine([])
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(GuideError, match="not a complete state"):
        line_guide.load_state(place)
    with pytest.raises(GuideError, match="found nothing"):
        line_guide.load_state(tmp_path / "none")


def test_a_file_counts_once(line_guide, rows, tmp_path):
    """Whatever it is called by then; a file that has grown is told of."""
    frame = pd.DataFrame({"x_0": rows["x"][:, 0], "x_1": rows["x"][:, 1], "y": rows["y"]})[:3000]
    frame.to_csv(tmp_path / "a.csv", index=False)
    state = last(line_guide, tmp_path / "a.csv")
    assert state.rows == 3000
    state = line_guide.load_state(state.save(tmp_path / "state"))
    shutil.copy(tmp_path / "a.csv", tmp_path / "b.csv")
    for name in ("a.csv", "b.csv"):
        with pytest.raises(GuideError, match=rf"has seen .*{name} in full"):
            last(line_guide, tmp_path / name, state=state)
    with pytest.raises(GuideError, match="would count twice"):
        ap.combine([state, last(line_guide, tmp_path / "b.csv")])
    half = ap.batches(tmp_path / "a.csv", 512, shard=(0, 2))
    with pytest.raises(GuideError, match="would count twice"):
        list(line_guide.stream(half, state, progress=False))
    with open(tmp_path / "a.csv", "a") as file:
        file.write("0.0,0.0,0.0\n")
    with pytest.warns(UserWarning, match="has grown since"):
        last(line_guide, tmp_path / "a.csv", state=state)


def test_a_state_is_written_over_no_source(line_guide, rows, tmp_path):
    pd.DataFrame({"x_0": [1.0], "x_1": [1.0], "y": [0.0]}).to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "notes").write_text("mine")
    for keep, words in ((tmp_path / "a.csv", "read by the same"), (tmp_path / "notes", "replaced")):
        with pytest.raises(OSError, match=words):
            last(line_guide, tmp_path / "a.csv", keep=keep)
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_stopped_state_wants_its_own_source(logit_guide, votes):
    half = list(itertools.islice(logit_guide.stream(ap.batches(votes, 512), progress=False), 16))[
        -1
    ]
    with pytest.raises(GuideError, match="finish that source first"):
        last(logit_guide, {n: v[:5000] for n, v in votes.items()}, state=half)
    with pytest.raises(GuideError, match="whole mini-batches"):
        last(logit_guide, votes, size=1000, state=half)


def test_bad_options_are_named(line_guide, rows):
    with pytest.raises(DataError, match="passes: expected at least 1"):
        last(line_guide, rows, passes=0)
    with pytest.raises(DataError, match="every: expected at least 1"):
        next(line_guide.stream(ap.batches(rows), every=0))
    with pytest.raises(DataError, match="'passes' is for mini-batches"):
        line_guide.infer(rows, passes=2)


def test_a_source_that_fails_leaves_the_last_good_state(line_guide, rows, tmp_path):
    spoiled = {n: v.copy() for n, v in rows.items()}
    spoiled["y"][15_000] = np.nan
    with pytest.raises(DataError, match="row 15000"):
        last(line_guide, spoiled, shuffle=None, keep=tmp_path / "state")
    assert line_guide.load_state(tmp_path / "state").rows == 8192
