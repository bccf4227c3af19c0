"""Laws of every encoder of rows: order and padding change nothing; contexts scale with the rows."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import amortppl as ap
from amortppl.errors import GuideError, ModelError
from amortppl.guide.trusted_code import TrustedCode
from amortppl.networks import ENCODERS, encoder
from amortppl.networks.deep_set import DeepSet
from amortppl.predictive.encoded_rows import encoder_of
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.scaling import simulated_scales
from conjugate import shaken


@pytest.fixture(params=sorted(ENCODERS))
def encode(request):
    """An encoder of 3 features with weights that are not at their start."""
    net = construct(encoder, request.param, 3, 8, jr.key(0))
    return eqx.filter_jit(shaken(net, 0.1))


def test_order_of_rows_changes_nothing(encode):
    rows = jr.normal(jr.key(2), (10, 3))
    mask = jnp.ones(10, bool)
    np.testing.assert_allclose(encode(rows, mask), encode(rows[::-1], mask), rtol=2e-4, atol=1e-4)


def test_padding_changes_nothing(encode):
    rows = jr.normal(jr.key(3), (10, 3))
    padded = jnp.concatenate([rows, 100.0 * jnp.ones((6, 3))])
    np.testing.assert_allclose(
        encode(rows, jnp.ones(10, bool)), encode(padded, jnp.arange(16) < 10), rtol=2e-4, atol=1e-4
    )


def test_the_same_rows_twice_double_the_context(encode):
    """Contexts are sums over rows, which is what lets mini-batches add up."""
    rows = jr.normal(jr.key(4), (10, 3))
    twice = encode(jnp.concatenate([rows, rows]), jnp.ones(20, bool))
    np.testing.assert_allclose(twice, 2 * encode(rows, jnp.ones(10, bool)), rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("columns", [3, 20])
def test_second_moments_are_read_as_sds_and_correlations(columns):
    """Of columns with mean zero; of more than sixteen, those of combinations of them."""
    net = encoder("second_moments", columns, 8, jr.key(0))
    spread = np.diag(np.geomspace(0.5, 2.0, columns)) + 0.3
    rows = np.random.default_rng(0).normal(size=(500, columns)) @ spread
    rows -= rows.mean(0)
    sums = net(jnp.asarray(rows, jnp.float32), jnp.ones(500, bool))
    assert sums.shape == (net.size,)
    read = np.asarray(net.read(sums / 500))[8:]
    seen = rows if net.combine is None else rows @ np.asarray(net.combine, np.float64).T
    i, j = np.tril_indices(seen.shape[1])
    expected = np.where(i == j, np.log(seen.std(0))[i], np.corrcoef(seen.T)[i, j])
    np.testing.assert_allclose(read, expected, atol=2e-3)


def test_an_unknown_encoder_is_named():
    with pytest.raises(LookupError, match="did you mean 'deep_set'"):
        encoder("deepset", 3, 8, jr.key(0))


OWN = """
import equinox as eqx
from amortppl.networks.deep_set import DeepSet as Mine

def encoder(features, size, key):
    return eqx.nn.Linear(features, size, key=key)
"""


def test_encoders_of_ones_own_in_a_file(tmp_path):
    """A module that encodes one row is summed over the rows that the mask keeps."""
    file = tmp_path / "own_encoders.py"
    file.write_text(OWN)
    task = ap.model("gaussian_mean", rows=(4, 8))
    rows = simulated_scales(task, jr.key(0))[1]
    one = encoder_of(task, str(file), rows, 3, jr.key(1))
    kept = jnp.array([True, False, True])
    values = jr.normal(jr.key(2), (3, 1))
    expected = jax.vmap(one.one)(values[::2]).sum(0)
    np.testing.assert_allclose(one(values, kept), expected, rtol=1e-6)
    assert one.size == 3
    assert type(encoder_of(task, f"{file}:Mine", rows, 3, jr.key(1))).__name__ == "DeepSet"
    with pytest.raises(LookupError, match="has no 'Other'"):
        encoder_of(task, f"{file}:Other", rows, 3, jr.key(1))
    with pytest.raises(GuideError, match=r"names code in .*trust_code="):
        TrustedCode(tmp_path, [], own=False).expect_file(str(file))
    TrustedCode(tmp_path, [file], own=False).expect_file(str(file))


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (3, "expected a name, a function"),
        (lambda features: features, "should give a module for"),
        (eqx.nn.Linear(4, 2, key=jr.key(0)), "should encode one row of 3 numbers"),
        (DeepSet(4, 8, jr.key(0)), r"should take rows \(N, 3\)"),
    ],
)
def test_what_is_no_encoder(own, words):
    with pytest.raises(ModelError, match=words):
        encoder(own, 3, 8, jr.key(0))
