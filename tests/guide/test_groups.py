"""Posteriors of rows in groups: shared latents, effects by label, predictions of known and new
groups; against quadrature of the exact posterior, whatever the number of groups.
"""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import amortppl as ap
from amortppl.errors import DataError, GuideError, TrainingError

SPREAD, NOISE = 0.8, 0.5
PRIOR = 1.5


def means(school, n_school, y=None):
    """Effects N(mean, SPREAD^2) under noise: the posterior of all latents is Gaussian."""
    mean = numpyro.sample("mean", dist.Normal(0, PRIOR))
    with numpyro.plate("schools", n_school):
        effect = numpyro.sample("effect", dist.Normal(mean, SPREAD))
    with numpyro.plate("pupil", school.shape[0]):
        numpyro.sample("y", dist.Normal(effect[school], NOISE), obs=y)


def exact(data, labels):
    """Mean and sd of `mean`, and those of each effect."""
    y, school = data["y"], np.asarray(data["school"])
    count = np.array([(school == g).sum() for g in labels])
    total = np.array([y[school == g].sum() for g in labels])
    # latents (mean, effects) with a Gaussian joint density
    size = 1 + len(labels)
    precision = np.zeros((size, size))
    precision[0, 0] = 1 / PRIOR**2 + len(labels) / SPREAD**2
    precision[0, 1:] = precision[1:, 0] = -1 / SPREAD**2
    precision[range(1, size), range(1, size)] = 1 / SPREAD**2 + count / NOISE**2
    cover = np.linalg.inv(precision)
    return cover @ np.append(0, total / NOISE**2), np.sqrt(np.diag(cover))


def dataset(groups, rows, seed=0):
    random = np.random.default_rng(seed)
    school = random.integers(0, groups, rows)
    effect = random.normal(0.7, SPREAD, groups)
    y = effect[school] + NOISE * random.normal(size=rows)
    return {"school": [f"s{g}" for g in school], "y": y.astype(np.float32)}


@pytest.fixture(scope="module")
def guide():
    task = ap.Task(means, rows=(1, 6), groups={"school": (4, 16)})
    return ap.train(task, "laplace", progress=False)


def uneven():
    """130 groups, of which one has 300 rows: it goes on in further lines."""
    large = dataset(1, 300, seed=2)
    return {n: np.concatenate([v, large[n]]) for n, v in dataset(130, 390).items()}


DATA = {"one": dataset(1, 10), "six": dataset(6, 24), "uneven": uneven()}


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_the_posterior_is_exact_for_any_number_of_groups(guide, data):
    """A correct program fails at four standard errors of 4,000 draws: once in 16,000 numbers."""
    data = {n: list(v) if n == "school" else v for n, v in data.items()}
    draws = 4000 if len(data["y"]) < 100 else 400
    post = guide.infer(data, draws=draws)
    labels = list(post.posterior["effect"]["school"].values)
    assert labels == sorted({*data["school"]})
    centre, sd = exact(data, labels)
    drawn = np.vstack([post.posterior["mean"].values, post.posterior["effect"].values[0].T])
    error = np.abs(drawn.mean(1) - centre) / sd
    assert error.max() < 4 / np.sqrt(draws) + 0.01
    ratio = drawn.std(1) / sd
    assert np.abs(ratio - 1).max() < 4 / np.sqrt(2 * draws) + 0.01
    stats = post.sample_stats
    assert bool(stats["log_joint_agrees"]) and bool(stats["reliable"])
    assert post["log_likelihood"]["y"].dims == ("chain", "draw", "school")
    assert post["constant_data"]["school"].values.tolist() == data["school"]


@pytest.mark.slow
def test_known_groups_are_predicted_by_their_effects_and_new_ones_by_their_population(guide):
    """Four standard errors of 4,000 draws."""
    data = dataset(6, 30)
    at = {"school": ["s2", "new", "s2"], "y": np.array([1.0, 1.0, 0.0])}
    drawn = guide.predict(data, at={"school": at["school"]}, draws=4000).predictions["y"]
    labels = sorted({*data["school"]})
    centre, sd = exact(data, labels)
    place = 1 + labels.index("s2")
    expected = np.array([centre[place], centre[0], centre[place]])
    variance = np.array([sd[place] ** 2, sd[0] ** 2 + SPREAD**2, sd[place] ** 2])
    spread = np.sqrt(variance + NOISE**2)
    values = drawn.values[0]
    assert (np.abs(values.mean(0) - expected) < 4 * spread / np.sqrt(4000)).all()
    np.testing.assert_allclose(values.std(0), spread, rtol=4 / np.sqrt(8000))
    log_density = guide.log_predictive(data, at, draws=4000)
    normal = -0.5 * ((at["y"] - expected) / spread) ** 2 - np.log(spread * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(log_density, normal, atol=0.1)


@pytest.mark.slow
def test_lists_tables_and_the_folder_of_a_guide(guide, tmp_path):
    first, second = dataset(6, 24), dataset(5, 10, seed=1)
    one = guide.infer(first, draws=200)
    many = guide.infer([pd.DataFrame(first), second], draws=200)
    assert many.posterior["effect"].dims == ("task", "chain", "draw", "school")
    np.testing.assert_allclose(
        many.posterior["mean"].isel(task=0).mean(), one.posterior["mean"].mean(), atol=0.1
    )
    again = ap.load(guide.save(tmp_path / "guide"), task=guide.task)
    np.testing.assert_allclose(
        again.infer(first, draws=200).posterior["mean"], one.posterior["mean"], atol=1e-5
    )
    state = guide.step(guide.init(), first)
    assert state.rows == len({*first["school"]})


@pytest.mark.slow
def test_groups_of_other_sizes_compile_nothing(guide, compilations):
    """Of 5 to 8 groups and of 5 to 16 rows in the largest there is one program."""
    guide.infer(dataset(6, 24), draws=4000)
    compilations.clear()
    guide.infer(dataset(7, 40, seed=3), draws=4000)
    assert compilations == []


@pytest.mark.slow
def test_a_stream_of_whole_groups_has_seen_them_all(guide, tmp_path):
    """Everything is Gaussian, so mini-batches lose nothing."""
    data = dataset(200, 600)
    order = np.argsort(data["school"], kind="stable")
    rows = {n: np.asarray(v)[order] for n, v in data.items()}
    batches = ap.batches(rows, 100, shuffle=None)
    state = list(guide.stream(batches, every=50, progress=False))[-1]
    labels = sorted({*data["school"]})
    centre, sd = (e[0] for e in exact(data, labels))
    assert state.rows == len(labels) and 5 <= state.steps <= 7
    draws = guide.infer(state, draws=4000).posterior["mean"].values
    assert abs(draws.mean() - centre) < (4 / np.sqrt(4000) + 0.01) * sd
    np.testing.assert_allclose(draws.std(), sd, rtol=4 / np.sqrt(8000) + 0.01)
    with pytest.raises(DataError, match="shuffle=None"):
        next(guide.stream(ap.batches(rows), progress=False))
    with pytest.raises(DataError, match="come in two places"):
        list(guide.stream(ap.batches(data, 100, shuffle=None), progress=False))
    path = tmp_path / "rows.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    stored = ap.batches(path, 100, shuffle=None)
    with pytest.raises(FileExistsError, match="read by the same command"):
        list(guide.stream(stored, keep=path, progress=False))
    read = list(guide.stream(stored, progress=False))[-1]
    assert read.rows == len(labels) and not state.sources
    with pytest.raises(GuideError, match="would count twice"):
        list(guide.stream(stored, read, progress=False))


@pytest.mark.slow
def test_fit_finds_the_groups_of_a_model():
    """Yes-or-no outcomes, against quadrature over (mean, spread) and, inside, each effect."""

    def passes(school, n_school, y=None):
        mean = numpyro.sample("mean", dist.Normal(0, 1.5))
        spread = numpyro.sample("spread", dist.HalfNormal(1))
        with numpyro.plate("schools", n_school):
            unit = numpyro.sample("unit", dist.Normal(0, 1))
        with numpyro.plate("pupil", school.shape[0]):
            logits = mean + spread * unit[school]
            numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)

    random = np.random.default_rng(2)
    school = np.repeat(np.arange(10), 8)
    logits = 0.5 + 1.2 * random.normal(size=10)[school]
    y = (random.uniform(size=80) < 1 / (1 + np.exp(-logits))).astype(int)
    post = ap.fit(passes, {"school": school, "y": y}, draws=2000)
    mean, spread = np.linspace(-4, 4, 81), np.linspace(0.01, 4, 80)
    u, weight = np.polynomial.hermite_e.hermegauss(41)
    at = mean[:, None, None] + spread[None, :, None] * u
    right = y.reshape(10, 8).sum(1)
    rows = [k * at - 8 * np.logaddexp(0, at) for k in right]
    total = sum(np.log(np.exp(r) @ (weight / weight.sum())) for r in rows)
    log_prior = -(mean[:, None] ** 2) / 4.5 - spread[None] ** 2 / 2
    density = np.exp(total + log_prior - (total + log_prior).max())
    density /= density.sum()
    for name, grid, p in (("mean", mean, density.sum(1)), ("spread", spread, density.sum(0))):
        centre = grid @ p
        sd = np.sqrt((grid - centre) ** 2 @ p)
        values = post.posterior[name].values
        assert abs(values.mean() - centre) < 0.1 * sd
        assert abs(values.std() / sd - 1) < 0.06
    assert bool(post.sample_stats["reliable"])


@pytest.mark.slow
def test_methods_of_exchangeable_rows_refuse_groups():
    task = ap.Task(means, rows=(1, 3), groups={"school": (2, 4)})
    with pytest.raises(TrainingError, match="lie in groups of 'school'"):
        ap.train(task, "conditional_neural_process", steps=1, progress=False)
