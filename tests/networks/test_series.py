"""Encoders of series and images: order counts, what is masked does not; and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.errors import GuideError, ModelError
from amortppl.networks import encoder
from amortppl.networks.series import ConvolutionalSeries, RecurrentSeries
from amortppl.networks.series_transformer import TransformerSeries
from amortppl.runtime.numpy_evaluation import construct
from conjugate import TINY

KINDS = [RecurrentSeries, ConvolutionalSeries, TransformerSeries]
STEPS = jr.normal(jr.key(2), (10, 3))


def made(kind, *arguments):
    return eqx.filter_jit(construct(lambda: kind(*arguments, jr.key(0))))


@pytest.mark.parametrize("kind", KINDS)
def test_order_counts_and_padding_does_not(kind):
    encode, kept = made(kind, 3, 8), jnp.ones(10, bool)
    whole = encode(STEPS, kept)
    assert float(jnp.abs(whole - encode(STEPS[::-1], kept)).max()) > 1e-2
    padded = jnp.concatenate([STEPS, 100.0 * jnp.ones((6, 3))])
    np.testing.assert_allclose(whole, encode(padded, jnp.arange(16) < 10), rtol=1e-4, atol=1e-5)


def test_a_recurrent_encoder_steps_over_what_is_missing():
    encode, kept = made(RecurrentSeries, 3, 8), jnp.arange(10) % 3 != 1
    only = STEPS[np.asarray(kept)]
    np.testing.assert_allclose(
        encode(STEPS, kept), encode(only, jnp.ones(len(only), bool)), rtol=1e-4, atol=1e-5
    )


def test_a_transformer_sees_distances_alone():
    """Steps at the same distances are read alike wherever they lie, and others are not."""
    encode = made(TransformerSeries, 3, 8)
    at = lambda *places: jnp.zeros((10, 3)).at[jnp.array(places)].set(STEPS[: len(places)])  # noqa: E731
    kept = lambda *places: jnp.zeros(10, bool).at[jnp.array(places)].set(True)  # noqa: E731
    one, moved, wider = (encode(at(*p), kept(*p)) for p in ((0, 1, 4), (5, 6, 9), (0, 1, 9)))
    np.testing.assert_allclose(one, moved, rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(one - wider).max()) > 1e-2


def test_a_convolution_does_not_see_ahead_and_knows_what_is_missing():
    encode, kept = made(ConvolutionalSeries, 3, 8), jnp.ones(10, bool)
    first = encode(STEPS, jnp.arange(10) < 9)
    changed = STEPS.at[9].add(5.0)
    rest = encode(STEPS, kept) - first, encode(changed, kept) - encode(changed, jnp.arange(10) < 9)
    assert float(jnp.abs(rest[0] - rest[1]).max()) > 1e-2  # the last step's own part changes
    np.testing.assert_allclose(first, encode(changed, jnp.arange(10) < 9), rtol=1e-4, atol=1e-5)
    zeros = jnp.where(jnp.arange(10)[:, None] == 4, 0.0, STEPS)
    assert float(jnp.abs(encode(zeros, kept) - encode(STEPS, jnp.arange(10) != 4)).max()) > 1e-3


@pytest.mark.parametrize("name", ["gru", "temporal_convolution"])
def test_a_set_of_series_is_the_sum_over_series(name):
    plain = construct(lambda: encoder(name, 15, 8, jr.key(0), {"y": (5, 2), "z": (5,)}))
    encode, one = eqx.filter_jit(plain), eqx.filter_jit(plain.one)
    rows = jr.normal(jr.key(1), (4, 15))
    each = [encode(rows[i : i + 1], jnp.ones(1, bool)) for i in range(4)]
    np.testing.assert_allclose(encode(rows, jnp.arange(4) < 3), sum(each[:3]), rtol=1e-4, atol=1e-5)
    steps = jnp.concatenate([rows[0, :10].reshape(5, 2), rows[0, 10:, None]], 1)
    np.testing.assert_allclose(each[0], one(steps, jnp.ones(5, bool)) / 5, rtol=1e-4, atol=1e-5)


def test_an_image_is_read_by_its_places():
    encode = eqx.filter_jit(construct(lambda: encoder("image", 80, 8, jr.key(0), {"y": (10, 8)})))
    image = jr.normal(jr.key(1), (10, 8))
    one = encode(image.reshape(1, -1), jnp.ones(1, bool))
    moved = encode(image[::-1].reshape(1, -1), jnp.ones(1, bool))
    assert one.shape == (8,) and float(jnp.abs(one - moved).max()) > 1e-3


@pytest.mark.parametrize(
    ("name", "shapes", "words"),
    [
        ("gru", {"y": ()}, "ordered=True"),
        ("gru", {"y": (5,), "z": (4,)}, "as many in every argument"),
        ("image", {"y": (5,)}, r"\(height, width\)"),
        ("image", {"y": (5, 5), "z": (5, 5)}, "one argument"),
    ],
)
def test_rows_that_are_neither(name, shapes, words):
    with pytest.raises(ModelError, match=words):
        encoder(name, 5, 8, jr.key(0), shapes)


class Largest(eqx.Module):
    """The largest of each column, times the rows."""

    size: int

    def __init__(self, features, size, key):
        self.size = features

    def __call__(self, rows, mask):
        return jnp.max(jnp.where(mask[:, None], rows, -jnp.inf), 0) * jnp.sum(mask)

    def read(self, mean):
        return mean


class Shapeless(Largest):
    def __call__(self, rows, mask):
        return rows


def uniform(top, rows, key):
    return top * jr.uniform(key, (rows,))


@pytest.mark.slow
def test_an_encoder_of_ones_own(tmp_path):
    task = ap.Task.from_simulator({"top": dist.Uniform(1, 2)}, uniform, rows=(3, 8))
    spec = ap.method("parametric", **TINY["parametric"], encoder=Largest)
    guide = ap.train(task, spec, steps=2, batch=8, progress=False)
    assert guide.training()["options"]["encoder"].endswith("Largest") and len(guide.hash) == 16
    method, blank = guide.method, jax.tree.map(jnp.asarray, guide.blank)
    summary = method.summary(method.step(method.init(), blank))
    assert summary.shape == (2,)  # the largest, and how many rows
    with pytest.raises(GuideError, match="'encoder' is code of your own"):
        guide.save(tmp_path / "guide")
    with pytest.raises(ModelError, match="should give 1 numbers, its size"):
        encoder(Shapeless, 1, 8, jr.key(0))
    with pytest.raises(ModelError, match="has no size, read"):
        encoder(lambda *_: abs, 1, 8, jr.key(0))


def autoregression(phi, rows, key):
    """y_t = phi y_t-1 + e_t, y_0 = 0, e_t ~ N(0, 1)."""
    step = lambda y, e: (phi * y + e,) * 2  # noqa: E731
    return {"y": jax.lax.scan(step, 0.0, jr.normal(key, (rows,)))[1]}


@pytest.mark.slow
def test_an_autoregression_of_any_length_has_its_exact_posterior():
    """Given y, phi is normal with precision sum y_t-1^2, within (-1, 1). Seeded; error of the mean
    in sds and ratio of sds, medians over 60 series, after a short training. Without their order
    the ratio is about 4.
    """
    prior = {"phi": dist.Uniform(-1, 1)}
    task = ap.Task.from_simulator(prior, autoregression, rows=(10, 30), ordered=True)
    spec = ap.method("parametric", encoder="gru", width=16, density="gaussian")
    guide = ap.train(task, spec, steps=800, batch=32, progress=False)
    made = [
        task.simulate(k, n).data
        for k, n in zip(jr.split(jr.key(9), 60), [10, 20, 30] * 20, strict=True)
    ]
    made = [{"y": np.asarray(d["y"])} for d in made]
    draws = guide.infer(made, draws=1000)["posterior"]["phi"].values.reshape(60, -1)
    grid = np.linspace(-1, 1, 4001)[1:-1]
    z, ratio = [], []
    for data, own in zip(made, draws, strict=True):
        y, before = data["y"], np.append(0.0, data["y"][:-1])
        log = -0.5 * ((y[None] - grid[:, None] * before) ** 2).sum(1)
        weight = np.exp(log - log.max())
        mean = np.average(grid, weights=weight)
        sd = np.average((grid - mean) ** 2, weights=weight) ** 0.5
        z.append(abs(own.mean() - mean) / sd)
        ratio.append(own.std() / sd)
    assert np.median(z) < 0.5 and 0.8 < np.median(ratio) < 1.5
