"""Laws that every method in inference/ must pass; a new file is found and tested without being
named here.
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
from amortppl import catalogue
from amortppl.errors import ModelError
from amortppl.method import begin, final
from amortppl.task.batch import Batch
from conjugate import TINY

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


def task_of(name):
    return ap.Task(
        classes if name == "versa" else line, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 16)
    )


@pytest.fixture(scope="module", params=catalogue.names("inference"))
def each(request):
    """A method, built but not trained, with the weights of its last layers no longer zero."""
    name = request.param
    task = task_of(name)
    spec = ap.method(name, **TINY.get(name, {}))
    method = eqx.filter_jit(spec.build)(task, jr.key(0))
    noisy = lambda a: (  # noqa: E731
        a + 0.05 * jr.normal(jr.key(a.size), a.shape) if eqx.is_inexact_array(a) else a
    )
    method = method if name in ("parametric", "svi", "laplace") else jax.tree.map(noisy, method)
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


def halves(draw):
    query = {n: v[12:] for n, v in draw.data.items()}
    return {n: v[:12] for n, v in draw.data.items()}, query


def test_order_of_rows_and_padding_change_nothing(each):
    _, _, _, method, draw = each
    data, query = halves(draw)
    order = jr.permutation(jr.key(2), 12)
    mixed = {n: v[order] for n, v in data.items()}
    padded = {n: jnp.concatenate([v, jnp.repeat(v[:1], 4, 0)]) for n, v in data.items()}
    was = answer(method, Batch(data, jnp.ones(12, bool)), query, draw.latents, 1)
    now = answer(method, Batch(mixed, jnp.ones(12, bool)), query, draw.latents, 1)
    more = answer(method, Batch(padded, jnp.arange(16) < 12), query, draw.latents, 1)
    assert np.isfinite(was).all()
    np.testing.assert_allclose(now, was, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(more, was, rtol=2e-3, atol=2e-3)


def test_any_number_of_steps(each):
    """Finite for K = 3; the same as one step where states add up."""
    name, _, _, method, draw = each
    data, query = halves(draw)
    one, three = (
        answer(method, Batch(data, jnp.ones(12, bool)), query, draw.latents, k) for k in (1, 3)
    )
    assert np.isfinite(three).all()
    if name not in ORDERED:
        np.testing.assert_allclose(three, one, rtol=2e-3, atol=2e-3)


def test_vmap_is_one_by_one_and_the_state_keeps_its_structure(each):
    _, _, _, method, draw = each
    data, query = halves(draw)
    batch = Batch(data, jnp.ones(12, bool))
    many = jax.tree.map(lambda a: jnp.stack([a, a[::-1]]), batch)
    single = answer(method, batch, query, draw.latents, 1)
    both = eqx.filter_jit(lambda m: jax.vmap(lambda b: answer(m, b, query, draw.latents, 1))(many))(
        method
    )
    np.testing.assert_allclose(both[0], single, rtol=2e-3, atol=2e-3)
    first = jax.eval_shape(lambda: method.step(begin(method, query), batch))
    second = jax.eval_shape(lambda s: method.step(s, batch), first)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert [a.shape for a in jax.tree.leaves(first)] == [a.shape for a in jax.tree.leaves(second)]


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
    log_density = guide.log_predictive(data, query, draws=50)
    assert log_density.shape == (4,) and np.isfinite(log_density).all()
    drawn = guide.predict(data, {"x": query["x"]}, draws=20)["predictions"]["y"]
    assert drawn.shape == (1, 20, 4) and np.isfinite(drawn).all()
    nothing = {"x": np.zeros((0, 2)), "y": np.zeros(0)}
    assert np.isfinite(guide.predict(nothing, {"x": query["x"]}, draws=5)["predictions"]["y"]).all()
    again = ap.load(guide.save(tmp_path / "guide"), task=task)
    np.testing.assert_allclose(
        again.log_predictive(data, query, draws=50), log_density, rtol=1e-5, atol=1e-5
    )
    begun = guide.init(at={"x": query["x"]})
    *_, state = guide.stream(ap.batches(data, size=4), begun, progress=False)
    assert state.rows == 12
    assert np.isfinite(guide.log_predictive(state, query, draws=50)).all()
    kept = guide.load_state(state.save(tmp_path / "state"))
    np.testing.assert_allclose(
        guide.log_predictive(kept, query, draws=50),
        guide.log_predictive(state, query, draws=50),
        rtol=1e-5,
        atol=1e-5,
    )


def test_versa_says_why_it_cannot_serve_a_regression():
    with pytest.raises(ModelError, match=r"it classifies.*'in_context'"):
        ap.method("versa").build(task_of("line"), jr.key(0))
