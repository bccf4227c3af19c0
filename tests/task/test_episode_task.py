"""Tasks whose episodes come from data: trained, asked, kept, compared; and what is refused."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpyro.distributions import constraints

import amortppl as ap
from amortppl.diagnostics.compare import compare
from amortppl.errors import DataError, GuideError, ModelError
from conjugate import TINY

POINTS = np.random.default_rng(0).normal(size=(12, 40, 3)).astype(np.float32)
POINTS += 4 * np.random.default_rng(1).normal(size=(12, 1, 3)).astype(np.float32)
"""Twelve classes of forty points around centres of their own."""

FILE = """
'''Three of twelve classes of points.'''
import jax.numpy as jnp, jax.random as jr, numpy as np
from numpyro.distributions import constraints

TASK = {"inputs": ["x"], "observed": {"y": constraints.integer_interval(0, 2)}, "rows": 3}
CENTRES = 4 * np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)

def of(key, rows, centres):
    kept, label = jr.choice(key, centres, (3,), replace=False), jnp.arange(rows) % 3
    return {"x": kept[label] + jr.normal(jr.fold_in(key, 1), (rows, 3)), "y": label}

def episodes(key, rows):
    return of(key, rows, CENTRES[:9])

def held_out(key, rows):
    return of(key, rows, CENTRES[9:])
"""

THREE = {"y": constraints.integer_interval(0, 2)}


def three_classes(key, rows):
    """x (rows, 3), y (rows,): each three rows hold each of three classes."""
    kept, label = jr.choice(key, 12, (3,), replace=False), jnp.arange(rows) % 3
    return {
        "x": jnp.asarray(POINTS)[kept[label], jr.randint(jr.fold_in(key, 1), (rows,), 0, 40)],
        "y": label,
    }


def lines(key, rows):
    """x (rows,), y (rows,): a line through the origin, as a regression."""
    slope, x = jr.normal(key), jr.normal(jr.fold_in(key, 1), (rows,))
    return {"x": x, "y": slope * x + 0.1 * jr.normal(jr.fold_in(key, 2), (rows,))}


@pytest.fixture(scope="module")
def task():
    return ap.Task.from_episodes(three_classes, ["x"], THREE, rows=(3, 12))


@pytest.fixture(scope="module")
def guide(task):
    """The classes are four deviations apart, so that a few updates are enough."""
    spec = ap.method("conjugate_head", features=4, hidden=8)
    return ap.train(task, spec, steps=100, batch=16, rate=3e-2, progress=False)


def halves(task, rows=9, queries=6):
    data = {n: np.asarray(v) for n, v in task.simulate(jr.key(3), rows + queries).data.items()}
    return {n: v[:rows] for n, v in data.items()}, {n: v[rows:] for n, v in data.items()}


def test_it_is_a_task_without_latents(task):
    assert task.arguments == ["x", "y"] and task.latents.size == 0 and not task.likelihood
    draw = jax.jit(jax.vmap(lambda k: task.simulate(k, 5)))(jr.split(jr.key(0), 2))
    assert draw.latents.shape == (2, 0) and draw.data["x"].shape == (2, 5, 3)
    assert (
        task.fingerprint
        != ap.Task.from_episodes(lines, ["x"], {"y": constraints.real}, rows=(3, 12)).fingerprint
    )
    more = {"y": constraints.integer_interval(0, 3)}
    assert (
        task.fingerprint
        != ap.Task.from_episodes(three_classes, ["x"], more, rows=(3, 12)).fingerprint
    )


def test_guide_predicts_the_classes(task, guide):
    context, new = halves(task)
    lpd = guide.log_predictive(context, new)
    assert lpd.shape == (6,) and np.exp(lpd.mean()) > 0.5
    drawn = guide.predict(context, {"x": new["x"]}, draws=50)["predictions"]["y"]
    assert drawn.shape == (1, 50, 6) and set(np.unique(drawn)) <= {0, 1, 2}
    assert np.isfinite(guide.log_predictive(None, new)).all()


def test_wrong_data_are_refused(task, guide):
    context, new = halves(task)
    with pytest.raises(
        DataError,
        match=r"'y' holds 7 at row 2, outside the support \(IntegerInterval\(.*upper_bound=2",
    ):
        guide.log_predictive({**context, "y": np.where(np.arange(9) == 2, 7, context["y"])}, new)


def test_saved_and_loaded_with_its_task(task, guide, tmp_path):
    context, new = halves(task)
    path = guide.save(tmp_path / "guide")
    again = ap.load(path, task=task)
    np.testing.assert_array_equal(
        again.log_predictive(context, new), guide.log_predictive(context, new)
    )
    with pytest.raises(
        GuideError, match=r"episodes of data, drawn by 'three_classes'.*pass the task"
    ):
        ap.load(path)
    with pytest.raises(GuideError, match="other sites"):
        ap.load(
            path, task=ap.Task.from_episodes(lines, ["x"], {"y": constraints.real}, rows=(3, 12))
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:train. only")
def test_a_file_of_episodes(tmp_path):
    """It is compared on its held-out episodes, and its guide is loaded without the task."""
    file = tmp_path / "three.py"
    file.write_text(FILE)
    method = tmp_path / "small.py"
    method.write_text("""'''A small one.'''
from functools import partial
from amortppl.catalogue import method
METHOD = partial(method, "conjugate_head", features=4, hidden=8)
""")
    table = compare(str(file), [str(method)], minutes=0.01, datasets=2)
    assert set(zip(table["rows"], table["steps"], strict=True)) == {(3, 1)}
    assert np.isfinite(table["lpd"]).all()
    assert (
        table["accuracy"].between(0, 1).all() and table["rmse"].between(0, 2).all()
    )  # classes 0, 1 and 2
    task = ap.model(f"{file}:held_out")
    assert task.name == "held_out" and task.rows == (3, 3)
    guide = ap.train(task, ap.method(str(method)), steps=1, batch=8, progress=False)
    assert ap.load(guide.save(tmp_path / "guide")).task.fingerprint == task.fingerprint


@pytest.mark.parametrize("name", ["parametric", "laplace", "learned_optimiser"])
def test_methods_of_a_posterior_name_those_that_serve(task, name):
    with pytest.raises(
        ModelError, match=r"no latents to infer.*'in_context'.*'versa' and 'conjugate_head'"
    ):
        ap.train(task, name, steps=1, progress=False)


def test_there_is_no_density(task):
    with pytest.raises(ModelError, match="no model to run"):
        task.log_densities(jnp.zeros(0), halves(task)[0])


PREDICT = [
    "in_context",
    "neural_process",
    "conditional_neural_process",
    "prior_fitted",
    "prompt_tuning",
    "hypernetwork",
    "maml",
    "meta_sgd",
    "conjugate_head",
]
REGRESS = ["in_context", "maml", "conjugate_head"]
"""One of each way to a prediction; the rest share these."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, "classes") for name in [*PREDICT, "versa"]), *((n, "regression") for n in REGRESS)],
)
def test_every_method_that_predicts_serves_it(task, name, kind, tmp_path):
    other = ap.Task.from_episodes(lines, ["x"], {"y": constraints.real}, rows=(3, 12))
    task = task if kind == "classes" else other
    spec = ap.method(name, **TINY[name])
    guide = ap.train(task, spec, steps=1, batch=8, mini_batches=1, uneven=False, progress=False)
    context, new = halves(task)
    lpd = guide.log_predictive(context, new)
    assert np.isfinite(lpd).all()
    assert np.isfinite(guide.predict(context, {"x": new["x"]}, draws=5)["predictions"]["y"]).all()
    np.testing.assert_allclose(
        ap.load(guide.save(tmp_path / "g"), task=task).log_predictive(context, new), lpd, 1e-5
    )


def made(**changes):
    """The episodes of `three_classes` with some arrays changed, or left out where None."""

    def episodes(key, rows):
        episode = three_classes(key, rows)
        episode |= {
            n: change(episode[n] if n in episode else episode["y"])
            for n, change in changes.items()
            if change
        }
        return {n: v for n, v in episode.items() if changes.get(n, True) is not None}

    return episodes


@pytest.mark.parametrize(
    ("episodes", "says"),
    [
        ("digits", "expected a callable .key, rows. -> dict of arrays, got str"),
        (lambda key: {}, r"episodes\(key, 3\) raised TypeError"),
        (lambda key, rows: jnp.zeros(rows), "expected a dict of arrays by argument, got"),
        (made(y=None), "'y' missing, none unknown"),
        (made(z=lambda y: y), "'z' unknown; name it in `inputs`"),
        (made(x=lambda x: x[:2]), r"expected 'x' with 3 rows first, got shape \(2, 3\)"),
        (made(x=lambda x: x[:, : len(x) % 2 + 1]), "a row of 'x' has shape"),
        (
            made(x=lambda x: x if x[0, 0] > 0 else -x),
            "a value that JAX does not know when it compiles",
        ),
        (made(x=lambda x: x / 0), "expected finite numbers in 'x'"),
        (made(y=lambda y: y + 1), "'y' = 3, outside the support.*are classes counted from 0"),
    ],
)
def test_wrong_episodes_are_refused(episodes, says):
    with pytest.raises(ModelError, match=says):
        ap.Task.from_episodes(episodes, ["x"], THREE, rows=(3, 12))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"inputs": "x"}, "inputs: expected the names of the inputs"),
        ({"observed": ["y"]}, "observed: expected the support of every observation"),
        (
            {"observed": {"y": 3}},
            r"observed\['y'\]: expected a support from numpyro.distributions.constraints",
        ),
        ({"inputs": ["x", "y"]}, "'y' is in `inputs` and in `observed`"),
        ({"rows": None}, "rows: expected .smallest, largest."),
        ({"rows": (12, 3)}, "1 <= smallest <= largest"),
    ],
)
def test_wrong_descriptions_are_refused(changes, says):
    with pytest.raises(ModelError, match=says):
        ap.Task.from_episodes(
            three_classes, **{"inputs": ["x"], "observed": THREE, "rows": (3, 12), **changes}
        )
