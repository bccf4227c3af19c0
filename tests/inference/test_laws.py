"""Laws that every method in inference/ must pass; a new file is found and tested without being
named here.
"""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl import catalogue
from amortppl.densities.unnormalized import Unnormalized
from amortppl.errors import ModelError
from amortppl.method import begin, final
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch
from conjugate import TINY, shaken

ORDERED = {
    "maml",
    "meta_sgd",
    "prompt_tuning",
    "learned_optimiser",
    "in_context",
    "svi",
    "laplace",
    "parametric",
    "iterative_explicit",
    "iterative_implicit",
    "iterative_parametric",
    "maml_in_context",
    "reverse_kl",
    "synthetic_gradient",
}
"""Methods whose steps depend on the state, so that mini-batches are not exactly their union."""


def line(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ w, 0.5), obs=y)


def classes(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 2).expand([2]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


@cache
def task_of(classifies):
    return ap.Task(
        classes if classifies else line, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 16)
    )


DEAR = {
    "iterative_explicit",
    "maml",
    "maml_in_context",
    "many_chains",
    "meta_sgd",
    "neural_likelihood",
    "neural_ratio",
    "prompt_tuning",
    "synthetic_gradient",
}
"""Methods that take long to compile: a posterior is searched for, or gradients go through gradient
steps or through those of a transformer.
"""


def member(name):
    """A method, as a parameter."""
    return pytest.param(name, marks=pytest.mark.slow) if name in DEAR else name


@pytest.fixture(autouse=True)
def without_chains(monkeypatch):
    """Chains take long to compile, and tests/inference/test_unnormalized.py has them: here draws
    are points by their weights, whatever these are worth.
    """
    monkeypatch.setattr(Unnormalized, "_by_chains", Unnormalized._by_weights)


@pytest.fixture(scope="module", params=[member(n) for n in catalogue.names("inference")])
def each(request):
    """A method, built but not trained, with the weights of its last layers no longer zero."""
    name = request.param
    task = task_of(name == "versa")
    spec = ap.method(name, **TINY.get(name, {}))
    method = construct(spec.build, task, jr.key(0))
    method = method if name in ("parametric", "svi", "laplace") else shaken(method, 0.05)
    draw = task.simulate(jr.key(5), 16)
    return name, task, spec, method, draw


def densities(method, task, state, query, latents):
    """What a state says, as an array: log densities of queries, or of the latents."""
    return (
        method.predictive(state, query).log_prob(query)
        if method.predicts
        else method.readout(state).log_prob(latents)
    )


@eqx.filter_jit
def answer(method, batch, query, latents, steps):
    return densities(method, method.task, final(method, batch, steps, query), query, latents)


@eqx.filter_jit
def answers(method, batches, query, latents):
    """Of each of several datasets after one step, and of the first after four."""
    one = jax.vmap(lambda b: answer(method, b, query, latents, 1))(batches)
    return one, answer(method, jax.tree.map(lambda a: a[0], batches), query, latents, 4)


def halves(draw):
    query = {n: v[12:] for n, v in draw.data.items()}
    return {n: v[:12] for n, v in draw.data.items()}, query


def with_padding(data, order, kept):
    """Rows in an order, of which those that are not kept count for nothing."""
    return Batch({n: np.asarray(v)[order] for n, v in data.items()}, np.asarray(kept))


def test_order_padding_vmap_and_any_number_of_steps(each):
    """Of 12 rows: in another order, with padding among them, and not padded and on their own, the
    answer is the same. After four steps, the last of no rows, it is finite, and the same where
    states add up.
    """
    name, _, _, method, draw = each
    data, query = halves(draw)
    first, rest = np.arange(12), np.zeros(4, int)
    mixed = np.random.default_rng(2).permutation(12)
    batches = jax.tree.map(
        lambda *a: jnp.stack(a),
        with_padding(data, np.r_[first, rest], np.arange(16) < 12),
        with_padding(data, np.r_[mixed, rest + 3], np.arange(16) < 12),
        with_padding(data, np.r_[rest, mixed], np.arange(16) >= 4),
    )
    one, four = answers(method, batches, query, draw.latents)
    alone = answer(method, Batch(data, jnp.ones(12, bool)), query, draw.latents, 1)
    assert np.isfinite(one).all() and np.isfinite(four).all()
    np.testing.assert_allclose(one, np.broadcast_to(alone, one.shape), rtol=2e-3, atol=2e-3)
    if name not in ORDERED:
        np.testing.assert_allclose(four, alone, rtol=2e-3, atol=2e-3)


def test_the_state_keeps_its_structure(each):
    _, _, _, method, draw = each
    data, query = halves(draw)
    batch = Batch(data, jnp.ones(12, bool))
    first = jax.eval_shape(lambda: method.step(begin(method, query), batch))
    second = jax.eval_shape(lambda s: method.step(s, batch), first)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert [a.shape for a in jax.tree.leaves(first)] == [a.shape for a in jax.tree.leaves(second)]


def test_a_posterior_can_leave_the_function_that_made_it(each):
    """It is a pytree: none of its functions closes over what was traced."""
    _, _, _, method, draw = each
    if method.predicts:
        return
    batch = Batch(halves(draw)[0], jnp.ones(12, bool))
    state = eqx.filter_eval_shape(lambda: method.step(begin(method, None), batch))
    read = eqx.filter_eval_shape(method.readout, state)
    closures = [getattr(leaf, "__closure__", None) or () for leaf in jax.tree.leaves(read)]
    inside = jax.tree.leaves([cell.cell_contents for cells in closures for cell in cells])
    assert not any(isinstance(a, jax.core.Tracer) for a in inside)
    log_prob = eqx.filter_eval_shape(lambda r: r.log_prob(draw.latents), read)
    assert log_prob.shape == ()


@pytest.mark.slow
def test_trained_saved_loaded_streamed_and_asked(each, tmp_path):
    """One short training; then every public way of asking gives finite answers, the same after a
    reload.
    """
    _, task, spec, _, draw = each
    untrained = spec.schedule(task).get("steps") == 0
    length = {} if untrained else {"steps": 2, "batch": 8, "mini_batches": 1, "uneven": False}
    guide = ap.train(task, spec, progress=False, **length)
    data, query = ({n: np.asarray(v) for n, v in d.items()} for d in halves(draw))
    log_density = guide.log_predictive(data, query, draws=20)
    assert log_density.shape == (4,) and np.isfinite(log_density).all()
    drawn = guide.predict(data, {"x": query["x"]}, draws=20)["predictions"]["y"]
    assert drawn.shape == (1, 20, 4) and np.isfinite(drawn).all()
    nothing = {"x": np.zeros((0, 2)), "y": np.zeros(0)}
    assert np.isfinite(
        guide.predict(nothing, {"x": query["x"]}, draws=20)["predictions"]["y"]
    ).all()
    again = ap.load(guide.save(tmp_path / "guide"), task=task)
    np.testing.assert_allclose(
        again.log_predictive(data, query, draws=20), log_density, rtol=1e-5, atol=1e-5
    )
    begun = guide.init(at={"x": query["x"]})
    *_, state = guide.stream(ap.batches(data, size=4), begun, progress=False)
    assert state.rows == 12
    assert np.isfinite(guide.log_predictive(state, query, draws=20)).all()
    kept = guide.load_state(state.save(tmp_path / "state"))
    np.testing.assert_allclose(
        guide.log_predictive(kept, query, draws=20),
        guide.log_predictive(state, query, draws=20),
        rtol=1e-5,
        atol=1e-5,
    )


def test_versa_says_why_it_cannot_serve_a_regression():
    with pytest.raises(ModelError, match=r"it classifies.*'in_context'"):
        ap.method("versa").build(task_of(False), jr.key(0))
