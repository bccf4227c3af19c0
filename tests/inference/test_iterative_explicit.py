"""The learned update of a task latent: gradients of its decoder, tokens beyond the depth trained
on, z as a latent.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch
from conjugate import TINY, line_model, shaken


@pytest.fixture(scope="module")
def task():
    return ap.Task(line_model, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 64))


@pytest.fixture(scope="module")
def method(task):
    """Not trained, its weights moved away from where they begin."""
    built = construct(
        ap.method("iterative_explicit", **TINY["iterative_explicit"]).build, task, jr.key(0)
    )
    return shaken(built, 0.2)


def test_the_gradients_of_rows_are_those_of_their_log_densities(task, method):
    """One backward pass for all rows, against a Jacobian row by row."""
    batch, state = Batch(task.simulate(jr.key(1), 8).data, jnp.ones(8, bool)), method.init()

    @eqx.filter_jit
    def both(method):
        return method._slopes(batch, state), jax.jacrev(method._likelihood(batch, state))(
            state.location
        )

    ours, theirs = both(method)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_beyond_the_rows_trained_on_the_decoder_sees_what_it_saw_there(method):
    """Log sds fall as 1 / sqrt(rows): the same numbers at 64 rows and at 6400."""
    state = method.init()._replace(rows=jnp.asarray(64.0))
    later = state._replace(rows=jnp.asarray(6400.0), spread=state.spread - 0.5 * jnp.log(6401 / 65))
    np.testing.assert_allclose(method._known(later), method._known(state), atol=1e-5)


@pytest.mark.slow
def test_z_is_a_latent(task):
    """Inferred, streamed, and asked for draws like any other."""
    spec = ap.method("iterative_explicit", **TINY["iterative_explicit"])
    guide = ap.train(task, spec, steps=2, batch=8, progress=False)
    data = {n: np.asarray(v) for n, v in task.simulate(jr.key(2), 40).data.items()}
    for given in (data, ap.batches(data, size=8)):
        z = guide.infer(given, draws=30)["posterior"]["z"]
        assert z.shape == (1, 30, 3) and np.isfinite(z).all()


def test_unknown_signals_are_refused():
    with pytest.raises(LookupError, match="'score' not among 'data', 'gradient', 'curvature'"):
        ap.method("iterative_explicit", signals=("score",))
