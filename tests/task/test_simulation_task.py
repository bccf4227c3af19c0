"""Tasks of simulators and of stored simulations: trained, asked, kept; and what is refused."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.errors import DataError, GuideError, ModelError, TrainingError
from amortppl.training.loop import _tell_unusable
from amortppl.training.ranges import Ranges
from amortppl.training.record import Record
from conjugate import TINY

PRIOR = {"mean": dist.Normal(0, 2), "sd": dist.HalfNormal(1)}


def normal(mean, sd, rng):
    return {"y": rng.normal(mean, sd, 5)}


def trials(mean, sd, rows, rng):
    return {"y": rng.normal(mean, sd, rows), "late": rng.random(rows) < 0.1}


def in_jax(mean, sd, rows, key):
    return mean + sd * jr.normal(key, (rows,))


def task_of(simulator, prior=PRIOR, rows=None, **options):
    options = {"simulations": 600, "workers": 1, "progress": False} | options
    return ap.Task.from_simulator(prior, simulator, rows, **options)


def tiny(task, **options):
    spec = ap.method("parametric", **TINY["parametric"])
    return ap.train(task, spec, **{"steps": 4, "batch": 8, "progress": False} | options)


@pytest.fixture(scope="module")
def task():
    return task_of(normal)


@pytest.fixture(scope="module")
def guide(task):
    return tiny(task)


DATA = {"y": [0.3, -0.2, 1.1, 0.4, 0.6]}


def test_it_is_a_task_without_a_density(task):
    assert task.arguments == ["y"] and task.latents.names == ["mean", "sd"] and task.block
    assert not task.likelihood and task.sites["sd"].support == "Positive"
    draw = jax.jit(jax.vmap(lambda k: task.simulate(k, 1)))(jr.split(jr.key(0), 3))
    assert draw.latents.shape == (3, 2) and draw.data["y"].shape == (3, 1, 5)
    vector = task.unconstrain({"mean": jnp.array(0.5), "sd": jnp.array(2.0)}, {})
    assert vector.tolist() == pytest.approx([0.5, np.log(2.0)])
    values, jacobians = task.sites_at(vector, {})
    assert float(values["sd"]) == pytest.approx(2.0)
    assert float(jacobians["sd"]) == pytest.approx(np.log(2.0))
    with pytest.raises(ModelError, match="known by its simulations alone"):
        task.log_densities(vector, draw.data)


def test_what_is_checked_with_is_never_learned_from(task):
    keys = jr.split(jr.key(1), 200)
    learn = jax.vmap(lambda k: task.learning(k, 1).latents)(keys)
    check = jax.vmap(lambda k: task.simulate(k, 1).latents)(keys)
    assert not set(np.asarray(learn)[:, 0].tolist()) & set(np.asarray(check)[:, 0].tolist())
    many = task.simulate_many(keys[:20], 1, 16).latents
    assert len(set(np.asarray(many)[:, 0].tolist())) == 20


def test_a_guide_answers_with_what_needs_no_density(guide):
    post = guide.infer(DATA, draws=50)
    assert post["posterior"]["sd"].shape == (1, 50) and (post["posterior"]["sd"] > 0).all()
    stats = post["sample_stats"]
    assert np.isfinite(stats["distance_p"]) and np.isnan(stats["fit_p"]) and np.isnan(stats["khat"])
    assert not bool(stats["reliable"]) and "posterior_predictive" not in post.children
    table = ap.diagnose(guide, datasets=30, draws=20)
    assert list(table.index) == ["mean", "sd"] and np.isfinite(table["z_score"]).all()


def test_predictions_run_the_simulator(guide):
    """20 draws, each y of five is around its own draw's mean."""
    post = guide.infer(DATA, draws=20, predictive=True)
    assert post["posterior_predictive"]["y"].shape[1:] == (20, 5)
    prior = guide.predict(None, at=1, draws=64)["predictions"]["y"].values
    assert prior.shape == (1, 64, 5) and 1.5 < prior.mean(-1).std() < 3.0  # 2.1; 4 sds wide


def test_verbs_that_need_a_density_say_so(guide):
    with pytest.raises(ModelError, match="known by its simulations alone"):
        guide.log_predictive(DATA, DATA)
    with pytest.raises(TrainingError, match="greedy training draws tasks anew"):
        ap.train(guide.task, "iterative_parametric", steps=1, progress=False)


def test_a_guide_is_kept_and_read_back_with_its_task(guide, task, tmp_path):
    folder = guide.save(tmp_path / "guide")
    again = ap.load(folder, task=task)
    assert again.hash == guide.hash
    with pytest.raises(GuideError, match=r"load\(path, task="):
        ap.load(folder)
    with pytest.raises(GuideError, match="other sites"):
        ap.load(folder, task=task_of(normal, targets=["mean"]))


def test_rows_of_any_number_in_a_range():
    task = task_of(trials, rows=(3, 8), ordered="day")
    with pytest.raises(DataError, match=r"'day' should rise, and row 2"):
        read(task, {"day": [0, 2, 1], "y": np.zeros(3), "late": np.zeros(3)})
    assert task.arguments == ["y", "late"] and task.rows_like["y"].shape == (3,)
    assert task.simulate(jr.key(0), 8).data["late"].shape == (8,)
    assert task.predict(jr.key(0), jnp.zeros(2), {}, 20)["late"].shape == (20,)
    with pytest.raises(ModelError, match="9 rows are asked for, and its simulations have 8"):
        task.simulate(jr.key(0), 9)
    with pytest.raises(ModelError, match="should hold at least 8 rows"):
        task_of(normal, rows=(3, 8))
    with pytest.raises(ModelError, match="takes `rows`; say how many"):
        task_of(trials)


def test_a_simulator_in_jax_runs_on_the_device():
    task = ap.Task.from_simulator(PRIOR, in_jax, rows=(3, 8))
    assert task.stored is None and task.arguments == ["x"] and task.compiled
    draws = jax.vmap(lambda k: task.simulate(k, 8))(jr.split(jr.key(0), 2000))
    means = draws.latents[:, 0]
    residual = (draws.data["x"] - means[:, None]) / jnp.exp(draws.latents[:, 1])[:, None]
    assert abs(float(residual.std()) - 1) < 0.03 and abs(float(means.std()) - 2) < 0.15  # 4 sds
    assert task.predict(jr.key(0), jnp.zeros(2), {}, 20)["x"].shape == (20,)
    draw = task.source.draw
    task.source = task.source._replace(
        draw=lambda key, rows: (draw(key, rows)[0], {"x": jnp.full(rows, jnp.nan)})
    )
    with pytest.raises(ModelError, match="'x' has an entry that is NaN or infinite in all"):
        Ranges.from_simulations(task, 0)
    with pytest.raises(ModelError, match="for simulators in Python"):
        ap.Task.from_simulator(PRIOR, in_jax, rows=(3, 8), simulations=100)
    with pytest.raises(ModelError, match="should be a function that JAX can trace"):
        ap.Task.from_simulator(PRIOR, lambda mean, key: np.random.normal(mean) if mean > 0 else 0.0)


def test_a_table_has_no_simulator_to_predict_with():
    rng = np.random.default_rng(0)
    mean, sd = rng.normal(0, 2, 1000), rng.uniform(1, 2, 1000)
    data = {"y": rng.normal(mean[:, None], sd[:, None], (1000, 5))}
    task = ap.Task.from_simulations({"mean": mean, "sd": sd}, data)
    supports = {n: s.support for n, s in task.sites.items() if n != "y"}
    assert supports == {"mean": "Real", "sd": "Interval"}
    assert 1 < float(task.constrain(jnp.full(2, -5.0), {})["sd"]) < 1.1
    with pytest.raises(ModelError, match="its simulations are a table"):
        task.predict(jr.key(0), jnp.zeros(2), {}, 1)
    with pytest.raises(DataError, match=r"of 'mean' lie outside Positive"):
        positive = {"mean": constraints.positive}
        ap.Task.from_simulations({"mean": mean}, data, supports=positive)
    with pytest.warns(ap.SimulationWarning, match="500 of 1000 simulations are left out"):
        ap.Task.from_simulations({"mean": mean}, {"y": np.where(np.arange(1000) % 2, 1.0, np.nan)})
    with pytest.raises(ModelError, match="'men' is no target"):
        ap.Task.from_simulations({"mean": mean}, data, supports={"men": constraints.real})
    with pytest.raises(ModelError, match=r"expected constraints .* got str"):
        ap.Task.from_simulations({"mean": mean}, data, supports={"mean": "positive"})
    with pytest.raises(DataError, match="expected two dicts"):
        ap.Task.from_simulations(mean, data)
    with pytest.raises(ModelError, match="'mean' is a latent and an observation"):
        ap.Task.from_simulations({"mean": mean}, {"mean": data["y"]})


def choices():
    """A program with a label, a correlation, and what follows from them."""
    which = numpyro.sample("which", dist.Bernoulli(0.3))
    low = numpyro.sample("low", dist.Normal(0, 1))
    high = numpyro.sample("high", dist.Normal(low, 0.5))
    numpyro.deterministic("gap", high - low)
    numpyro.sample("width", dist.Uniform(0, 1 + jnp.abs(low)))
    return which


def from_choices(which, low, gap, rng):
    assert which in (0, 1)
    return rng.normal(low + which * gap, 0.1, 2)


def total(low, high):
    return low + high


def twice(which):
    return 2.0 * which


def test_targets_are_some_latents_and_functions_of_them():
    with pytest.raises(
        ModelError, match=r"'which' is discrete.*targets=\['low', 'high', 'width'\]"
    ):
        task_of(from_choices, choices)
    with pytest.raises(ModelError, match=r"There is no other latent; .* ap\.compare_models"):
        task_of(lambda k: k, {"k": dist.Poisson(3.0)})
    with pytest.raises(DataError, match="'twice' has an entry with 2 values"):
        task_of(from_choices, choices, targets=[twice])
    task = task_of(from_choices, choices, targets=["gap", "width", total])
    assert task.latents.names == ["gap", "total", "width"]
    draws = jax.vmap(lambda k: task.simulate(k, 1))(jr.split(jr.key(0), 500))
    assert 0.3 < np.std(draws.latents[:, 0]) < 0.7  # 0.5, of 60 simulations
    with pytest.raises(ModelError, match="needs 'which', 'low', 'high' too"):
        task.predict(jr.key(0), draws.latents[0], {}, 1)
    for targets, words in [
        (["gab"], "did you mean 'gap'"),
        ("gap", "expected a list"),
        ([lambda depth: depth], "'depth' not among"),
        (["gap", "gap"], "named twice"),
        ([lambda low: low.nothing], r"'lambda' should be a function .*AttributeError"),
    ]:
        with pytest.raises(ModelError, match=words):
            task_of(from_choices, choices, targets=targets)


def test_failures_are_told():
    def failing(mean, rng):
        return rng.normal(mean) if mean < 2 else np.nan

    with pytest.warns(ap.SimulationWarning, match="simulations are left out: .* NaN or infinity"):
        task = task_of(failing, {"mean": dist.Normal(0, 2)})
    assert float(jnp.concatenate([task.samples[p][0]["mean"] for p in task.samples]).max()) < 2


def test_failures_of_a_simulator_in_jax_are_told():
    task = ap.Task.from_simulator(PRIOR, in_jax, rows=(3, 8))
    with pytest.warns(ap.SimulationWarning, match=r"0\.45 of 100 simulated datasets are left out"):
        _tell_unusable(task, Record(tasks=100, unusable=45))
