"""States tied to queries: alone or together, in memory or streamed, kept and continued; and what is
refused.
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
from amortppl.errors import GuideError, ModelError
from amortppl.method import begin, final
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch
from conjugate import TINY, line_model, shaken

OPTIONS = TINY["iterative_implicit"]


def counts_and_class(x, y=None, z=None):
    """Two observations a row: a count, and one of three classes that depends on it."""
    w = numpyro.sample("w", dist.Normal(0, 0.5))
    with numpyro.plate("row", x.shape[0]):
        y = numpyro.sample("y", dist.Poisson(jnp.exp(w * x)), obs=y)
        numpyro.sample("z", dist.Categorical(logits=jnp.stack([0 * x, w * x, 0.1 * y], -1)), obs=z)


def built(task, **options):
    """Not trained, but with no weight of zero."""
    method = construct(ap.method("iterative_implicit", **OPTIONS, **options).build, task, jr.key(0))
    return shaken(method, 0.1)


@pytest.fixture(scope="module")
def task():
    return ap.Task(line_model, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 32))


@pytest.fixture(scope="module")
def guide(task):
    spec = ap.method("iterative_implicit", **OPTIONS)
    return ap.train(task, spec, steps=25, batch=8, mini_batch=8, progress=False)


@pytest.fixture(scope="module")
def at(line_data):
    return {n: v[:3] for n, v in line_data.items()}


@pytest.mark.parametrize("state", ["logits", pytest.param("hidden", marks=pytest.mark.slow)])
def test_a_query_is_not_changed_by_the_others(task, state):
    method, draw = built(task, state=state), task.simulate(jr.key(1), 20)
    rows = Batch({n: v[:8] for n, v in draw.data.items()}, jnp.ones(8, bool))
    query = {n: v[8:] for n, v in draw.data.items()}
    one = {n: v[:1] for n, v in query.items()}

    @eqx.filter_jit
    def answer(query):
        return method.predictive(final(method, rows, 2, query), query).log_prob(query)

    np.testing.assert_allclose(answer(query)[:1], answer(one), rtol=1e-4, atol=1e-4)


def test_rows_of_several_mini_batches_are_taken_one_mini_batch_after_another(task):
    method, draw = built(task), task.simulate(jr.key(1), 43)
    data, query = (
        {n: v[:40] for n, v in draw.data.items()},
        {n: v[40:] for n, v in draw.data.items()},
    )
    step = eqx.filter_jit(method.step)
    state = begin(method, query)
    whole = step(state, Batch(data, jnp.ones(40, bool)))
    for rows in (slice(0, 16), slice(16, 32), slice(32, 40)):
        part = {n: v[rows] for n, v in data.items()}
        state = step(state, Batch(part, jnp.ones(len(part["y"]), bool)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), whole, state)
    assert whole.rows == 40 and (whole.weight > 1).all()


@pytest.mark.slow
def test_a_count_and_a_class_as_probabilities():
    """Probabilities of the classes given a count sum to one."""
    task = ap.Task(counts_and_class, {"x": dist.Normal(0, 1)}, rows=(4, 16))
    method, draw = built(task, state="probabilities"), task.simulate(jr.key(1), 12)
    rows = Batch({n: v[:9] for n, v in draw.data.items()}, jnp.ones(9, bool))
    query = {"x": jnp.repeat(draw.data["x"][9:10], 3), "y": jnp.full(3, 2), "z": jnp.arange(3)}
    at = eqx.filter_jit(lambda: method.predictive(final(method, rows, 1, query), query))()
    class_and_count = at.log_prob(query)
    drawn = at.sample(jr.key(2), 4000)
    share = np.mean(np.asarray(drawn["y"][:, 0]) == 2)
    # Of 4000 draws: 4.5 standard errors, so one correct program in 140,000 fails.
    total = np.exp(class_and_count).sum()
    assert abs(share - total) < 4.5 * (total * (1 - total) / 4000) ** 0.5


@pytest.mark.slow
def test_a_stream_is_its_rows_in_memory(guide, line_data, at):
    """Queries first, rows streamed past them; by hand too."""
    in_memory = guide.log_predictive(line_data, at)
    stream = ap.batches(line_data, size=16, shuffle=None)
    np.testing.assert_allclose(guide.log_predictive(stream, at), in_memory, rtol=1e-4, atol=1e-4)
    state = guide.init(at={"x": at["x"]})
    for rows in (slice(0, 16), slice(16, 20)):
        state = guide.step(state, {n: v[rows] for n, v in line_data.items()})
    np.testing.assert_allclose(guide.log_predictive(state, at), in_memory, rtol=1e-4, atol=1e-4)
    drawn = guide.predict(stream, {"x": at["x"]}, draws=50)["predictions"]["y"]
    assert drawn.shape == (1, 50, 3) and np.isfinite(drawn).all()


def test_a_state_that_was_kept_goes_on(guide, line_data, at, tmp_path):
    half = [{n: v[rows] for n, v in line_data.items()} for rows in (slice(0, 10), slice(10, 20))]
    state = guide.step(guide.init(at={"x": at["x"]}), half[0])
    kept = guide.load_state(state.save(tmp_path / "state"))
    went, goes = (guide.log_predictive(guide.step(s, half[1]), at) for s in (state, kept))
    np.testing.assert_allclose(goes, went, rtol=1e-6)
    assert kept.rows == 10


def test_a_further_pass_counts_nothing_twice(guide, line_data, at):
    stream = lambda passes: guide.stream(  # noqa: E731
        ap.batches(line_data, size=8),
        guide.init(at={"x": at["x"]}),
        passes=passes,
        every=100,
        progress=False,
    )
    *_, once = stream(1)
    *_, twice = stream(2)
    assert twice.rows == twice.value.rows == once.value.rows == 20
    assert np.isfinite(guide.log_predictive(twice, at)).all()
    # Weights differ as far as the network's factor sees the state.
    assert (abs(np.log(twice.value.weight / once.value.weight)) < 1).all()


def test_states_of_disjoint_rows_combine_and_of_other_queries_do_not(task):
    """Means by the closed form of independent evidence, by hand for one query."""
    method = built(task)
    query = {"x": jnp.ones((1, 2)), "y": jnp.zeros(1)}
    first = begin(method, query)
    apart = [
        first._replace(value=first.value + away, weight=jnp.full(1, w), rows=jnp.asarray(n))
        for away, w, n in ((0.5, 3.0, 8.0), (-0.2, 5.0, 4.0))
    ]
    both = method.combine(apart)
    assert both.rows == 12 and both.weight == 7
    np.testing.assert_allclose(both.value - first.value, (3 * 0.5 - 5 * 0.2) / 7, rtol=1e-4)
    other = begin(method, {"x": jnp.zeros((1, 2)), "y": jnp.zeros(1)})
    with pytest.raises(GuideError, match="belong to other queries"):
        method.combine([apart[0], other])
    hidden = built(task, state="hidden")
    with pytest.raises(GuideError, match="hidden vectors do not combine"):
        hidden.combine([begin(hidden, query)] * 2)


def test_queries_cannot_change_between_steps(guide, line_data, at):
    state = guide.step(guide.init(at={"x": at["x"]}), line_data)
    for other in ({n: v + 1 for n, v in at.items()}, {n: v[:2] for n, v in at.items()}):
        with pytest.raises(GuideError, match="belongs to the queries it was begun with"):
            guide.log_predictive(state, other)
    with pytest.raises(GuideError, match=r"belongs to its queries.*guide\.init\(at=\.\.\.\)"):
        guide.init()
    with pytest.raises(GuideError, match=r"belongs to its queries.*guide\.init\(at=\.\.\.\)"):
        next(guide.stream(ap.batches(line_data, size=4), progress=False))
    method, query = guide.method, {n: jnp.asarray(v, jnp.float32) for n, v in at.items()}
    with pytest.raises(GuideError, match="belongs to 2 queries and is asked at 3"):
        method.predictive(begin(method, {n: v[:2] for n, v in query.items()}), query)


def test_an_unknown_kind_of_state_is_refused(task):
    with pytest.raises(
        ModelError, match="state: expected one of logits, probabilities, hidden, attention, got 's"
    ):
        ap.method("iterative_implicit", state="softmax").build(task, jr.key(0))
