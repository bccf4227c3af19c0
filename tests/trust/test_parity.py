"""The log joint behind k-hat against NumPyro's `log_density` and against known faults."""

import json
import warnings

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import log_density

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.errors import UnreliableWarning
from amortppl.posterior.draws import Drawn
from amortppl.report.summary import verdict_of
from amortppl.trust.parity import compare, log_joints, widen
from amortppl.trust.verdict import Figures, is_reliable, verdict


def line(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)


def centred_when_long(x, y=None):
    """Rows depend on one another beyond 20 of them, which no look at 7 and 11 rows can see."""
    line(x - x.mean() if x.shape[0] > 20 else x, y)


def data_of(rows, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows) + 3
    return {"x": x, "y": 0.5 * x + rng.normal(size=rows)}


def task_of(model):
    return ap.Task(model, inputs={"x": dist.Normal(0, 1)})


@pytest.fixture(scope="module")
def guide():
    return ap.train(task_of(line), "laplace", progress=False)


@pytest.mark.parametrize("rows", [1, 8, 50, 5000])
def test_pieces_add_up_to_numpyros_log_density(rows):
    """In 64 bits against 32: rounding of 5,000 terms is below 1e-2 by a factor of ten."""
    task, data = task_of(line), data_of(rows)
    [sums] = log_joints(task, [np.array([[0.3], [-2.0]])], [widen(task, read(task, data))])
    for value, slope in zip(sums.value, (0.3, -2.0), strict=True):
        plain = log_density(line, (data["x"], data["y"]), {}, {"slope": slope})[0]
        assert value == pytest.approx(float(plain), rel=1e-5, abs=1e-2)


def test_an_engine_that_is_off_is_seen(guide):
    """Whatever the reason: one nat on one draw, of 64 datasets one."""
    datasets = [read(guide.task, data_of(n, n)) for n in range(8, 72)]
    vectors = np.zeros((64, 3, 1))
    joint = np.stack(
        [s.value for s in log_joints(guide.task, vectors, [widen(guide.task, d) for d in datasets])]
    )
    joint[5] += 1.0
    parity = compare(guide.task, datasets, Drawn(vectors, joint, joint, joint))
    assert list(np.nonzero(~parity.agrees)[0]) == [5]
    assert parity.error[5] == pytest.approx(1.0) and np.abs(np.delete(parity.error, 5)).max() < 1e-9


def test_an_answer_that_agrees_is_reliable(guide):
    post = guide.infer([data_of(30), data_of(300)], predictive=False)
    assert post.sample_stats["log_joint_agrees"].values.all()
    assert np.abs(post.sample_stats["log_joint_error"].values).max() < 1e-2
    assert post.sample_stats["reliable"].values.all()


def test_rows_that_depend_on_one_another_in_some_datasets_only():
    """No rung calls it good, the warning names site and cause; short datasets stay right."""
    guide = ap.train(task_of(centred_when_long), "laplace", progress=False)
    assert bool(guide.infer(data_of(12), predictive=False).sample_stats["reliable"])
    with pytest.warns(UnreliableWarning, match="'y' .*not independent"):
        post = guide.infer(data_of(33), trust="ladder", predictive=False)
    assert not bool(post.sample_stats["reliable"])
    assert verdict_of(post).startswith("not reliable")
    assert any(n.startswith("NOT RELIABLE") for n in json.loads(post.attrs["warnings"]))


@pytest.mark.parametrize(("start", "agrees"), [(0.0, True), (1.7e9, False)])
def test_numbers_that_32_bits_cannot_tell_apart(guide, start, agrees):
    """Seconds since 1970: 32 bits hold 128 s at this size, so that rows 10 s apart coincide. The
    same rows from their first second on are right.
    """
    data = data_of(40)
    data["x"] = start + 10 * np.arange(40.0)
    data["y"] = 0.5 * data["x"] + np.random.default_rng(0).normal(size=40)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        stats = guide.infer(data, predictive=False).sample_stats
    said = [str(w.message) for w in told if w.category is UnreliableWarning]
    assert bool(stats["log_joint_agrees"]) == agrees
    assert any("the numbers of 'x' need more than the 32 bits" in s for s in said) != agrees
    assert agrees or not bool(stats["reliable"])


def test_one_verdict_from_all_figures():
    cases = {
        "good": Figures(0.1),
        "good: nuts": Figures(passed=True, source="nuts"),
        "usable: ": Figures(0.6),
        "usable by importance weights only": Figures(-1.65, 0.1, 1.1),
        "not reliable: the guide": Figures(0.9),
        "not reliable: some draws": Figures(0.1, finite=False),
        "not reliable: the log joint": Figures(-1.0, agrees=False, passed=True),
        "not reliable: no rung": Figures(0.1, passed=False),
        "not checked": Figures(),
    }
    for words, figures in cases.items():
        assert verdict(figures).startswith(words)
        assert is_reliable(figures) == words.startswith(("good", "usable: "))


def test_infinite_draws_are_not_reliable(guide):
    """A posterior tree whose draws were spoilt says so, whatever k-hat says."""
    post = guide.infer(data_of(30), predictive=False)
    del post["sample_stats"]["finite"]
    post["posterior"]["slope"] = post["posterior"]["slope"] * jnp.inf
    assert verdict_of(post) == "not reliable: some draws are not finite"


def test_a_stream_is_compared_too(guide):
    """Blocks of rows in 64 bits against the engine's padded ones: right, and with rows coupled."""
    source = ap.batches(data_of(700), size=64)
    post = guide.infer(source, check=True)
    assert bool(post.sample_stats["reliable"]) and bool(post.sample_stats["log_joint_agrees"])
    assert abs(float(post.sample_stats["log_joint_error"])) < 1e-2
    coupled = ap.train(task_of(centred_when_long), "laplace", progress=False)
    with pytest.warns(UnreliableWarning, match="all rows"):
        post = coupled.infer(ap.batches(data_of(700), size=64), check=True)
    assert not bool(post.sample_stats["reliable"])
