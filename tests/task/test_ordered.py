"""Series as tasks: found, evaluated in windows, streamed in order, forecast. The truth is NumPy's:
Kalman's filter, dense Gaussians, and the autoregression's own recursion.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from numpyro.contrib.control_flow import scan
from scipy import stats
from scipy.special import logsumexp

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.errors import (
    DataError,
    GuideError,
    ModelError,
    OutOfRangeWarning,
    UnreliableWarning,
)
from amortppl.gaussian.training_schedule import best_schedule
from amortppl.posterior.draws import Drawn
from amortppl.runtime.numpy_evaluation import construct, evaluate
from amortppl.task import path_judge
from amortppl.task.batch import Batch
from amortppl.task.path_latents import Path, expand, forward
from amortppl.task.path_quadrature import (
    SmoothPath,
    at_nodes,
    concave,
    filter_on,
    find_path,
    place,
)
from amortppl.trust.parity_notes import judge_parity

STEPS = 6


def autoregression(rows, y=None):
    """With known noise, so that the posterior is a Gaussian."""
    w = numpyro.sample("w", dist.Normal(0, 0.3).expand([2]).to_event(1))

    def step(last, seen):
        value = numpyro.sample("y", dist.Normal(w @ last, 1.0), obs=seen)
        return jnp.stack([value, last[0]]), None

    scan(step, jnp.zeros(2), y, length=rows)


def lagged(x, y=None):
    """The same with an input, and in one line once y is given."""
    w = numpyro.sample("w", dist.Uniform(-0.5, 0.5).expand([2]).to_event(1))

    def step(last, x):
        value = numpyro.sample("y", dist.Normal(x + w @ last, 1.0))
        return jnp.stack([value, last[0]]), None

    if y is None:
        scan(step, jnp.zeros(2), x)
    else:
        before = jnp.concatenate([jnp.zeros(2), y])
        numpyro.sample("y", dist.Normal(x + w[0] * before[1:-1] + w[1] * before[:-2], 1.0), obs=y)


def garch(rows, y=None):
    persistence = numpyro.sample("persistence", dist.Beta(8, 2))

    def step(variance, seen):
        value = numpyro.sample("y", dist.Normal(0, jnp.sqrt(variance)), obs=seen)
        return 1 - persistence + persistence * (0.3 * value**2 + 0.7 * variance), None

    scan(step, 1.0, y, length=rows)


def local_level(rows, y=None):
    wander = numpyro.sample("wander", dist.LogNormal(-1, 0.5))

    def step(level, seen):
        level = numpyro.sample("level", dist.Normal(level, wander))
        numpyro.sample("y", dist.Normal(level, 1.0), obs=seen)
        return level, None

    scan(step, 0.0, y, length=rows)


@pytest.fixture(scope="module")
def task():
    return ap.Task(autoregression, rows=(20, 80))


@pytest.fixture(scope="module")
def named():
    return ap.Task(autoregression, rows=(20, 80), ordered="day")


@pytest.fixture(scope="module")
def guide(task):
    return ap.train(task, "laplace", progress=False)


@pytest.fixture(scope="module")
def y(task):
    return np.asarray(task.simulate(jr.key(2), 100).data["y"])


def lags(y):
    """y_t-1 and y_t-2 of every row."""
    before = np.concatenate([np.zeros(2), y])
    return np.column_stack([before[1:-1], before[:-2]])


def test_series_is_found_with_its_memory_and_evaluated_in_windows(task, y):
    assert (task.ordered, task.memory, task.sequential, task.independent) == (True, 2, True, False)
    assert "a series of 20 to 80 rows, the density of each given the 2 before it" in task.describe()
    ours = task.log_densities(jnp.array([0.3, -0.2]), {"y": y})[1]
    exact = stats.norm.logpdf(y, lags(y) @ [0.3, -0.2], 1.0)
    np.testing.assert_allclose(ours, exact, atol=1e-4)


def test_mini_batches_in_order_and_steps_by_hand_are_the_exact_posterior(task, guide, y):
    *_, state = guide.stream(ap.batches({"y": y}, size=64), progress=False)
    hand = guide.init()
    for start in (0, 50, 51):
        hand = guide.step(hand, {"y": y[start : {0: 50, 50: 51, 51: 100}[start]]})
    whole = guide.step(guide.init(), {"y": y})
    assert state.lead == 2 and state.rows == hand.rows == 100
    np.testing.assert_array_equal(state.before["y"], y[-2:])
    precision = np.eye(2) / 0.09 + lags(y).T @ lags(y)
    exact = np.linalg.solve(precision, lags(y).T @ y)
    batch = Batch({"y": y}, np.ones(100, bool))  # seven parts; untrained, so that sites add up
    learned = construct(ap.method("iterative_parametric", closed_form=True).build, task, jr.key(0))
    parts = evaluate(lambda b: learned.step(learned.init(), b).frame(), batch), learned.scale
    steps = [(s.value.frame, guide.method.scale) for s in (whole, state, hand)]
    for frame, scale in (*steps, parts):
        location = scale.restore(jnp.asarray(frame.location))
        sds = np.linalg.cholesky(precision).T @ (location - exact)
        assert np.abs(sds).max() < 1e-3
        units = np.outer(scale.scale, scale.scale)
        np.testing.assert_allclose(frame.factor @ frame.factor.T, units * precision, atol=0.05)


def test_guide_and_state_are_kept_on_disk(guide, y, tmp_path):
    state = guide.step(guide.init(), {"y": y[:30]})
    folder = guide.save(tmp_path / "guide")
    named = ap.load(folder)
    assert named.task.ordered and named.task.memory == 2
    again = named.load_state(state.save(tmp_path / "a.state"))
    assert again.lead == 2
    np.testing.assert_array_equal(again.before["y"], y[28:30])


def test_forecasts_have_the_exact_log_score(guide, y):
    """Against mixtures over the same draws of the exact Gaussians of every horizon.

    The score averages densities at 4000 drawn pasts, whose relative sd is at most 1, so that its
    standard error is 0.016: a correct program fails once in 10^4.
    """
    past, future = y[:-STEPS], y[-STEPS:]
    scores = guide.log_predictive({"y": past}, {"y": future}, draws=4000)
    draws = guide.predict({"y": past}, steps=STEPS, draws=4000).predictions["y"]
    assert draws.shape == (1, 4000, STEPS)
    assert draws.row.values.tolist() == list(range(len(past), len(y)))
    sites = guide.infer({"y": past}, draws=4000, predictive=False).posterior
    w = sites["w"].values[0]
    mean, covariance = np.tile(past[:-3:-1], (4000, 1)), np.zeros((4000, 2, 2))
    turn = np.zeros((4000, 2, 2))
    turn[:, 0], turn[:, 1, 0] = w, 1
    for h in range(STEPS):
        mean = np.einsum("sij,sj->si", turn, mean)
        covariance = turn @ covariance @ turn.transpose(0, 2, 1)
        covariance[:, 0, 0] += 1.0
        sd = np.sqrt(covariance[:, 0, 0])
        exact = logsumexp(stats.norm.logpdf(future[h], mean[:, 0], sd)) - np.log(4000)
        assert abs(scores[h] - exact) < 0.06
        spread = np.sqrt(np.mean(sd**2) + np.var(mean[:, 0]))
        assert abs(draws.values[0, :, h].mean() - mean[:, 0].mean()) < 4 * spread / np.sqrt(4000)


def test_lagged_arrays_and_inputs_are_forecast(y):
    task = ap.Task(lagged, {"x": dist.Normal(0, 1)}, rows=(20, 80))
    assert (task.memory, task.sequential) == (2, False)
    guide, x = ap.train(task, "laplace", progress=False), np.zeros(40, np.float32)
    with pytest.raises(DataError, match="depends on 'x', which are not known"):
        guide.predict({"x": x, "y": y[:40]}, steps=2)
    days = pd.date_range("2020-01-01", periods=40)
    table, again = (pd.DataFrame({"x": x, "y": y[:40]}, days[::step]) for step in (1, -1))
    with pytest.raises(DataError, match="not later than the last row before it"):
        guide.predict(table, at=table[["x"]], steps=40)
    with pytest.raises(DataError, match=r"row 1 .* is earlier than"):
        list(guide.stream(ap.batches(again, size=20), progress=False))
    next_x = np.array([50.0, -50.0], np.float32)
    ahead = guide.predict({"x": x, "y": y[:40]}, at={"x": next_x}, steps=2, draws=200)
    first, second = ahead.predictions["y"].values[0].T
    w = guide.infer({"x": x, "y": y[:40]}, draws=200, predictive=False).posterior["w"].values[0]
    # y_2 - x_2 - w_1 y_1 - w_2 y_0 is noise of sd 1 around 0: |mean| < 0.3 but once in 10^4.
    assert abs(np.mean(second + 50 - w[:, 0] * first - w[:, 1] * y[39])) < 0.3
    assert abs(np.mean(first) - 50) < 3


@pytest.fixture(scope="module")
def returns():
    """A guide of returns whose variance remembers, and 400 of them."""
    task = ap.Task(garch, rows=(20, 80))
    guide = ap.train(task, "laplace", progress=False)
    return guide, np.asarray(task.simulate(jr.key(1), 400).data["y"])


def test_what_is_remembered_for_long_is_carried_as_far_as_it_matters(returns):
    guide, y = returns
    task = guide.task
    assert task.ordered and task.memory is None
    *_, state = guide.stream(ap.batches({"y": y}, size=100), progress=False)
    assert 8 <= state.lead <= 128
    vector = jnp.zeros(1)  # persistence 0.5, of which 0.35 a row is remembered
    whole = task.log_densities(vector, {"y": y})[1][300:]
    late = task.log_densities(vector, {"y": y[300 - state.lead :]})[1][state.lead :]
    np.testing.assert_allclose(late, whole, atol=1e-3)


@pytest.mark.slow
def test_further_passes_of_a_series_end_where_a_step_on_all_rows_does(returns):
    """They expand all mini-batches where the last pass ended; after one pass it is 3e-3 off."""
    guide, y = returns
    exact = guide.step(guide.init(), {"y": y}).value.frame
    *_, state = guide.stream(ap.batches({"y": y}, size=100), passes=3, progress=False)
    again = guide.method.finalize(state.value).frame
    assert abs(exact.whiten(again.location)) < 3e-4
    np.testing.assert_allclose(again.factor, exact.factor, rtol=1e-3)


@pytest.fixture(scope="module")
def levels():
    return ap.Task(local_level, rows=(20, 80))


@pytest.mark.slow
def test_guides_of_paths_learn_from_a_pool_where_the_filter_is_in_closed_form(levels, monkeypatch):
    """An update of fresh tasks takes some ten times what one from the pool does."""
    signals = ("data", "gradient", "curvature")
    assert best_schedule(levels, signals)["pooled"]
    monkeypatch.setattr(levels, "local", SmoothPath(levels.local))
    assert not best_schedule(levels, signals).get("pooled")


@pytest.mark.slow
def test_what_is_off_at_a_far_draw_is_blamed_on_the_path(levels, monkeypatch):
    """The engine is a nat a row off where the sd of a step is large, and right elsewhere."""
    vectors = np.array([[[0.0], [3.0], [0.1]]], np.float32)

    def off(self, vector, data):
        prior, rows = Path.log_densities(self, vector, data)
        return prior, rows + jnp.where(vector[0] > 2, 1.0, 0.0)

    def exact(task, vector, data):
        t = np.arange(1, 7)
        covariance = np.exp(2 * vector[0]) * np.minimum.outer(t, t) + np.eye(6)
        return 0.0, stats.multivariate_normal(np.zeros(6), covariance).logpdf(data["y"]), 0.0

    data = {"y": np.sin(np.arange(6.0))}
    joint = np.array([[exact(levels, v, data)[1] for v in vectors[0]]]) + np.array([0.0, 6.0, 0.0])
    monkeypatch.setattr(SmoothPath, "log_densities", off)
    monkeypatch.setattr(levels, "local", SmoothPath(levels.local))
    monkeypatch.setitem(path_judge._WAYS, SmoothPath, exact)
    with pytest.warns(UnreliableWarning):
        notes = judge_parity(levels, [read(levels, data)], Drawn(vectors, *[joint] * 3))[1]
    assert notes[0][0].startswith("NOT RELIABLE") and "too long for the nodes" in notes[0][0]
    assert "32 bits" not in notes[0][0] and "most in row" not in notes[0][0]


def test_a_path_of_states_is_filtered_and_drawn(levels):
    """The level's covariance is wander^2 min(s, t); padding behind the data changes nothing."""
    task = levels
    y = np.asarray(task.simulate(jr.key(4), 40).data["y"])
    wander, t = np.exp(-0.5), np.arange(1, 41)
    level = wander**2 * np.minimum.outer(t, t)
    exact = stats.multivariate_normal(np.zeros(40), level + np.eye(40)).logpdf(y)
    vector = task.unconstrain({"wander": jnp.array(wander)}, {"y": y})
    padded = np.append(y, np.repeat(y[:1], 24)).astype(np.float32)
    rows = task.log_densities(vector, {"y": padded})[1]
    np.testing.assert_allclose(rows[:40].sum(), exact, rtol=1e-4)
    judged = task.judge.log_densities(np.asarray(vector)[None].astype(float), {"y": y[None]})
    np.testing.assert_allclose(judged.rows.sum(), exact, rtol=1e-6)
    guide = ap.train(task, "laplace", progress=False)
    paths = guide.local({"wander": np.full(1000, wander)}, {"y": y}).posterior["level"].values[0]
    gain = level @ np.linalg.inv(level + np.eye(40))
    sd = np.sqrt(np.diag(level - gain @ level))
    # 40 means and sds of 1000 draws: 4.5 standard errors once in 1000.
    assert np.abs(paths.mean(0) - gain @ y).max() < 4.5 * sd.max() / np.sqrt(1000)
    np.testing.assert_allclose(paths.std(0), sd, rtol=4.5 / np.sqrt(2000))


def test_states_of_a_hidden_markov_model_are_summed_out_and_drawn():
    """Against the forward and backward algorithms; padding behind the data changes nothing."""
    level, stay = np.array([-1.0, 1.5]), np.array([0.9, 0.8])
    turn = np.array([[0.9, 0.1], [0.2, 0.8]])

    def hidden(rows, y=None):
        stay = numpyro.sample("stay", dist.Uniform(0, 1).expand([2]).to_event(1))
        turn = jnp.stack([jnp.array([stay[0], 1 - stay[0]]), jnp.array([1 - stay[1], stay[1]])])

        def step(state, seen):
            state = numpyro.sample(
                "state", dist.Categorical(turn[state]), infer={"enumerate": "parallel"}
            )
            numpyro.sample("y", dist.Normal(jnp.array(level)[state], 1.0), obs=seen)
            return state, None

        scan(step, 0, y, length=rows)

    task = ap.Task(hidden, rows=(20, 80))
    assert "by the forward algorithm" in task.describe()
    y = np.random.default_rng(4).normal(0.5, 1.5, 12).astype(np.float32)
    like, before, rows, seen = stats.norm.pdf(y[:, None], level, 1.0), turn[0], [], []
    for each in like:
        rows.append(np.log(before @ each))
        seen.append(before * each / (before @ each))
        before = seen[-1] @ turn
    vector = task.unconstrain({"stay": jnp.array(stay)}, {"y": y})
    padded = {"y": np.append(y, np.repeat(y[:1], 4))}
    ours = jax.jit(lambda d: task.log_densities(vector, d)[1])(padded)
    np.testing.assert_allclose(ours[:12], rows, atol=1e-4)
    smooth = [seen[-1]]
    for each in seen[-2::-1]:
        back = each[:, None] * turn / (each @ turn)
        smooth.insert(0, back @ smooth[0])
    draw = jax.vmap(lambda key: task.local.draw(vector, {"y": y}, key))
    drawn = evaluate(draw, jr.split(jr.key(0), 2000))[:, :, 0].mean(0)
    # 12 shares of 2000 draws, each with an sd of 0.011 at most: 4.5 of them once in 10^4.
    np.testing.assert_allclose(drawn, np.array(smooth)[:, 1], atol=0.05)
    fixed = ap.Task(hidden, rows=(12, 12))  # which hides that the states grow with the rows
    ours = jax.jit(lambda d: fixed.log_densities(vector, d)[1])({"y": y})
    np.testing.assert_allclose(ours, rows, atol=1e-4)


def test_stochastic_volatility_is_integrated_out():
    """Against a filter on a grid of 1001 points, with 8 rows behind the data."""
    mu, phi, sigma, y = -0.5, 0.9, 0.5, np.random.default_rng(1).normal(size=30)

    def rows(h, y):
        before = jnp.concatenate([jnp.full(1, mu), h[:-1, 0]])
        moved = dist.Normal(mu + phi * (before - mu), sigma).log_prob(h[:, 0])
        return moved + dist.Normal(0, jnp.exp(h[:, 0] / 2)).log_prob(y)

    def filtered(y):
        mode = find_path(lambda h: rows(h, y), jnp.zeros((len(y), 1)))
        nodes = place(mode, forward(concave(expand(lambda h: rows(h, y), mode))))
        return filter_on(at_nodes(lambda h: rows(h, y), nodes), nodes)

    ours = jax.jit(filtered)(jnp.array(np.append(y, np.repeat(y[:1], 8)), jnp.float32))[:30]
    grid = np.linspace(-9, 8, 1001)
    move = stats.norm.pdf(grid, mu + phi * (grid[:, None] - mu), sigma)
    before, exact = stats.norm.pdf(grid, mu, sigma), []
    for value in y:
        own = before * stats.norm.pdf(value, 0, np.exp(grid / 2))
        exact.append(np.log(own.sum() * 0.017))
        before = own / own.sum() @ move
    np.testing.assert_allclose(ours, exact, atol=2e-3)


def test_an_index_of_time_takes_no_mini_batches(y):
    def trend(rows, y=None):
        slope = numpyro.sample("slope", dist.Normal(0, 1))
        with numpyro.plate("time", rows):
            numpyro.sample("y", dist.Normal(slope * jnp.arange(rows) / 10, 1), obs=y)

    guide = ap.train(ap.Task(trend, rows=(20, 80), ordered=True), "laplace", progress=False)
    with pytest.raises(GuideError, match="remembers its beginning"):
        list(guide.stream(ap.batches({"y": np.tile(y, 4)}, size=64), progress=False))


@pytest.mark.parametrize(
    ("order", "say"),
    [([0, 2, 1], r"row 2 .* is earlier than"), ([0, 1, 1], "of the row before it")],
)
def test_time_stamps_rise(guide, named, y, order, say):
    times = pd.date_range("2020-01-01", periods=3)[order]
    with pytest.raises(DataError, match=say):
        guide.infer({"y": pd.Series(y[:3], times)})
    with pytest.raises(DataError, match=f"'day' should rise.*{say}"):
        read(named, pd.DataFrame({"day": times, "y": y[:3]}))


@pytest.mark.parametrize(
    ("table", "say"),
    [
        (lambda t: t[::-1], r"the index .* row 1 \(27\) is earlier"),
        (lambda t: pd.concat([t[:20], t[:20]]), r"the index .* row 20 \(0\) is earlier"),
        (lambda t: t.assign(day=t["day"].to_numpy()[::-1]), "'day' should rise"),
        (lambda t: t[::3], None),
        (lambda t: t.assign(changed=t["day"].to_numpy()[::-1]), None),
    ],
)
def test_rows_of_a_table_are_in_order(task, y, table, say):
    """Shuffled rows, and times in a column that no argument names, were answered without a word."""
    days = pd.date_range("2020-01-01", periods=30)
    data = table(pd.DataFrame({"day": days, "y": np.resize(y, 30)})[:29])
    if say is None:
        assert read(task, data).rows == len(data)
        return
    with pytest.raises(DataError, match=say):
        read(task, data)


def test_a_hole_in_the_time_stamps_is_told(task, y):
    """And none is seen in working days, months or irregular times."""
    y, days = np.resize(y, 60), pd.date_range("2020-01-01", periods=100)
    with pytest.warns(OutOfRangeWarning, match=r"row 30 \(2020-03-11.* 41 usual steps"):
        read(task, pd.DataFrame({"y": y}, days[:30].append(days[70:])))
    irregular = days[0] + pd.to_timedelta(np.arange(60) ** 2 * 7, "h")
    months = pd.date_range("2000-01-31", periods=60, freq="ME")
    for times in (pd.bdate_range("2020-12-01", periods=60), months, irregular):
        assert read(task, pd.DataFrame({"y": y}, times)).rows == 60


@pytest.mark.parametrize(
    ("texts", "say"),
    [
        (["8/1/2020", "9/1/2020", "10/1/2020"], r"row 0 \('8/1/2020'\) is not in the form of ISO"),
        (["2020-10-01", "2020-10-02", "3.10.2020"], r"row 2 \('3.10.2020'\) is not in the form"),
        (["2020-09-01T10:00Z", "2020-09-01T11:00+02:00", "2020-09-02"], "cannot be compared"),
        (["2020-09-01T10:00Z", "2020-09-01T11:00+02:00", "2020-09-02T00:00Z"], "row 1 .* earlier"),
        (["2020-09-01T10:00Z", "2020-09-01T13:00+02:00", "2020-09-02T00:00Z"], None),
        (["2020-10-01", "2020-10-02", "2020-10-10"], None),
    ],
)
def test_time_stamps_as_text_are_times(task, named, y, texts, say, tmp_path):
    """They were compared as text, so that October came before September."""
    table = pd.DataFrame({"day": texts, "y": y[:3]})
    table.to_csv(tmp_path / "rows.csv", index=False)
    indexed = table.set_index("day")
    for of, data in [(task, indexed), (named, table), (named, tmp_path / "rows.csv")]:
        if say is None:
            [block] = ap.batches(data, shuffle=None).blocks(of)
            assert block.stamps[0] == pd.Timestamp(texts[0])
            continue
        with pytest.raises(DataError, match=say):
            list(ap.batches(data, shuffle=None).blocks(of))
        if isinstance(data, pd.DataFrame):
            with pytest.raises(DataError, match=say):
                read(of, data)


def dated(y, days):
    return pd.DataFrame({"y": y[: len(days)]}, index=pd.Timestamp("2020-01-01") + days)


@pytest.mark.parametrize("first", [1, 2], ids=["twice", "earlier"])
def test_time_stamps_rise_from_mini_batch_to_mini_batch(guide, y, first, tmp_path):
    """They were compared within a mini-batch alone, where it came by hand or from an iterable."""
    days = pd.to_timedelta(range(6), "D")
    early, late = dated(y, days[:4]), dated(y, days[4 - first :])
    say = r"row \d \(2020-01-0\d 00:00:00\) is not later .* \(2020-01-04 00:00:00\)"
    state = guide.step(guide.init(), early)
    kept = guide.load_state(state.save(tmp_path / "kept"))
    for one in (state, kept):
        with pytest.raises(DataError, match=say):
            guide.step(one, late)
        with pytest.raises(DataError, match=say):
            guide.predict(one, at=late, steps=len(late))
        with pytest.raises(DataError, match=say):
            list(guide.stream(ap.batches(late, size=4), one, progress=False))
    for size in (4, 6):  # a block ends between the tables, or behind them
        with pytest.raises(DataError, match=r"not later|earlier than|the row before it"):
            list(guide.stream(ap.batches([early, late], size=size), progress=False))
    with pytest.raises(DataError, match="cannot be compared"):
        guide.step(state, late.tz_localize("UTC"))
    further = guide.step(kept, dated(y, days + days[-1]))
    rows = ap.batches([early, dated(y, days + days[-1])], size=3)
    *_, streamed = guide.stream(rows, progress=False)
    assert further.stamp == streamed.stamp == pd.Timestamp("2020-01-11")


def test_a_series_is_not_shuffled_and_has_rows(guide, y):
    with pytest.raises(DataError, match="shuffle=3"):
        list(guide.stream(ap.batches({"y": y}, size=10, shuffle=3), progress=False))
    with pytest.raises(ModelError, match="one block"):
        ap.Task(autoregression, rows=None, constants={"rows": 5}, ordered=True)
    independent = ap.train(ap.model("gaussian_mean"), "laplace", progress=False)
    with pytest.raises(GuideError, match="forecasts are of series"):
        independent.predict({"y": y}, steps=2)


def test_a_season_longer_than_the_rows_looked_at_is_no_short_memory():
    """The 60th row before counts: a memory of one row had an answer 300 nats off (and marked)."""

    def season(n, y=None):
        effect = numpyro.sample("effect", dist.Uniform(-1, 1))

        def step(last, now):
            value = numpyro.sample("y", dist.Normal(last @ season_weights(effect), 1), obs=now)
            return jnp.append(last[1:], value), None

        scan(step, jnp.zeros(60), y, length=n)

    def season_weights(effect):
        return jnp.zeros(60).at[jnp.array([0, 59])].set(jnp.stack([effect, 0.3]))

    assert ap.Task(season, rows=(80, 150)).memory is None
