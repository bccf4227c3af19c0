"""Rows in groups, any number of both: against closed forms, quadrature by SciPy and the plain
model.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import log_density
from scipy import stats
from scipy.integrate import quad

import amortppl as ap
from amortppl.diagnostics.inferences.functions import _as_the_model_takes
from amortppl.errors import ModelError
from amortppl.task.group_summary import as_user_data, group_columns, rows_that_count
from amortppl.task.grouped_model import model_of_rows

NOISE = 0.5


def intercepts(x, school, n_school, y=None):
    """y_i ~ N(effect of the school + slope x_i, NOISE^2), effects N(mean, spread^2)."""
    mean, slope = (numpyro.sample(n, dist.Normal(0, 1)) for n in ("mean", "slope"))
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    with numpyro.plate("schools", n_school):
        effect = numpyro.sample("effect", dist.Normal(mean, spread))
    with numpyro.plate("pupil", x.shape[0]):
        numpyro.sample("y", dist.Normal(effect[school] + slope * x, NOISE), obs=y)


def passes(school, n_school, size, y=None):
    """Yes or no for each row, with a covariate of the school and effects in their own units."""
    mean, slope = (numpyro.sample(n, dist.Normal(0, 1)) for n in ("mean", "slope"))
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    with numpyro.plate("schools", n_school):
        unit = numpyro.sample("unit", dist.Normal(0, 1))
        effect = numpyro.deterministic("effect", mean + slope * size + spread * unit)
    with numpyro.plate("pupil", school.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=effect[school]), obs=y)


X = {"x": dist.Normal(0, 1)}
GROUPS = {"school": (4, 32)}


@pytest.fixture(scope="module")
def intercepts_task():
    return ap.Task(intercepts, X, rows=(1, 6), groups=GROUPS)


@pytest.fixture(scope="module")
def passes_task():
    size = {"size": dist.Normal(0, 1)}
    return ap.Task(passes, size, rows=(1, 6), groups=GROUPS, by_group={"school": ["size"]})


def simulated(task, seed=0, groups=5):
    """Data by group, the latents' vector, and shared latents by name (float64)."""
    draw = task.simulate(jr.key(seed), groups)
    values = task.constrain(draw.latents, draw.data)
    data = {n: np.asarray(v) for n, v in draw.data.items()}
    return data, draw.latents, {n: np.float64(v) for n, v in values.items()}


def by_group(task, vector, data):
    return np.asarray(jax.jit(task.log_densities)(vector, data)[1], np.float64)


def in_lines_of_two(data):
    """Groups of 6 places as 3 lines of 2, the second and third below all first ones."""
    lines = {n: v.reshape(5, 3, 2).swapaxes(0, 1).reshape(15, 2) for n, v in data.items()}
    above = np.repeat([0, 5, 10], 5)[:, None]
    return lines | {"school": np.where(lines["school"] > 0, 1 + above, 0)}


# The marginal density of a group.


def test_normal_effects_have_a_closed_form(intercepts_task):
    data, vector, theta = simulated(intercepts_task)
    exact = []
    for g, counts in enumerate(data["school"] > 0):
        x, y = data["x"][g, counts], data["y"][g, counts]
        cover = theta["spread"] ** 2 + NOISE**2 * np.eye(len(x))
        mean = theta["mean"] + theta["slope"] * x
        exact.append(stats.multivariate_normal.logpdf(y, mean, cover))
    np.testing.assert_allclose(by_group(intercepts_task, vector, data), exact, atol=1e-4)
    assert intercepts_task.latents.names == ["mean", "slope", "spread"]
    assert [*intercepts_task.local.sites] == ["effect"]


@pytest.mark.slow
def test_yes_or_no_outcomes_are_integrated_as_scipy_does(passes_task):
    data, vector, theta = simulated(passes_task)
    for g, value in enumerate(by_group(passes_task, vector, data)):
        y = data["y"][g, data["school"][g] > 0]
        centre = theta["mean"] + theta["slope"] * data["size"][g]

        def density(u, y=y, centre=centre):
            logits = centre + theta["spread"] * u
            return stats.norm.pdf(u) * np.prod(stats.bernoulli.pmf(y, 1 / (1 + np.exp(-logits))))

        np.testing.assert_allclose(value, np.log(quad(density, -10, 10)[0]), atol=1e-4)


def test_with_its_effects_given_the_density_is_the_plain_models(intercepts_task):
    data, vector, theta = simulated(intercepts_task)
    effects = np.linspace(-1, 1, 5)
    prior, rows = intercepts_task.local.joint(vector, data, jnp.asarray(effects)[:, None])
    flat = as_user_data(intercepts_task.group_layout, data)
    taken = _as_the_model_takes(intercepts_task, data)  # by a user's own inference
    assert int(taken.pop("n_school")) == len(data["school"])
    assert all(np.array_equal(taken[n], flat[n]) for n in taken) and taken.keys() == flat.keys()
    sites = {n: jnp.asarray(v) for n, v in (theta | {"effect": effects}).items()}
    plain, _ = log_density(intercepts, (), flat | {"n_school": 5}, sites)
    volume = np.log(theta["spread"])  # of spread's unconstrained space
    np.testing.assert_allclose(float(prior + rows.sum()), float(plain) + volume, atol=1e-3)


def test_filled_places_empty_groups_and_the_order_of_rows_change_nothing(intercepts_task):
    data, vector, _ = simulated(intercepts_task)
    before = by_group(intercepts_task, vector, data)
    wide = {n: np.concatenate([v, v[:, ::-1] + 7], 1) for n, v in data.items()}
    wide["school"] = np.concatenate([data["school"], 0 * data["school"]], 1)
    np.testing.assert_allclose(by_group(intercepts_task, vector, wide), before, atol=1e-4)
    turned = {n: v[:, ::-1] for n, v in data.items()}
    np.testing.assert_allclose(by_group(intercepts_task, vector, turned), before, atol=1e-4)
    split = in_lines_of_two(data)
    after = by_group(intercepts_task, vector, split)
    np.testing.assert_allclose(after[:5], before, atol=1e-4)
    np.testing.assert_allclose(after[5:], 0, atol=1e-5)
    empty = data | {"school": 0 * data["school"]}
    np.testing.assert_allclose(by_group(intercepts_task, vector, empty), 0, atol=1e-5)


# Simulated groups.


@pytest.mark.slow
def test_sizes_of_simulated_groups_span_their_range(intercepts_task):
    draws = jax.vmap(lambda k: intercepts_task.simulate(k, 8).data["school"])(
        jr.split(jr.key(0), 200)
    )
    sizes = np.asarray(draws).sum(-1)
    assert {*np.unique(sizes)} == {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
    spread = sizes.max(1) - sizes.min(1)
    assert (spread == 0).mean() > 0.05 and (spread >= 4).mean() > 0.05


@pytest.mark.slow
def test_columns_of_a_group_do_not_see_filled_places(passes_task):
    data, _, _ = simulated(passes_task)
    layout = passes_task.group_layout
    seen = group_columns(layout, {n: jnp.asarray(v) for n, v in data.items()})
    rows = rows_that_count(layout, data)
    assert seen["school"].shape == (5, 1) and seen["size"].shape == (5, 1)
    counts = data["school"] > 0
    means = [data["y"][g, c].mean() for g, c in enumerate(counts)]
    np.testing.assert_allclose(seen["y"][:, 0], means, rtol=1e-5)
    assert rows["school"].tolist() == counts.sum(1).tolist() and len(rows["y"]) == counts.sum()


# What is refused.


def refused(model, match, inputs=X, **options):
    with pytest.raises(ModelError, match=match):
        ap.Task(model, inputs, rows=(1, 6), **{"groups": GROUPS, **options})


def test_arguments_that_are_not_there_are_named():
    def lacks(x, school, y=None):
        numpyro.sample("y", dist.Normal(x, 1), obs=y)

    refused(lacks, "no argument 'n_school' .the number of groups")
    refused(intercepts, "no argument 'class_'", groups={"class_": (2, 4)})
    refused(intercepts, "no argument 'size' .named in by_group", by_group={"school": ["size"]})
    refused(intercepts, "described twice", X | {"school": dist.Categorical(np.ones(3) / 3)})
    refused(intercepts, "expected the fewest and the most", groups={"school": (9, 4)})
    refused(intercepts, "no argument 'n_x'", groups={"school": (2, 4), "x": (2, 4)})


@pytest.mark.slow
def test_rows_that_look_at_one_another_are_refused():
    def demeaned(x, school, n_school, y=None):
        mean = numpyro.sample("mean", dist.Normal(0, 1))
        with numpyro.plate("schools", n_school):
            effect = numpyro.sample("effect", dist.Normal(0, 1))
        with numpyro.plate("pupil", x.shape[0]):
            at = mean * (x - x.mean()) + effect[school]
            numpyro.sample("y", dist.Normal(at, NOISE), obs=y)

    def within(x, school, n_school, y=None):
        mean = numpyro.sample("mean", dist.Normal(0, 1))
        total = jax.ops.segment_sum(x, school, n_school)
        with numpyro.plate("schools", n_school):
            effect = numpyro.sample("effect", dist.Normal(mean * total, 1))
        with numpyro.plate("pupil", x.shape[0]):
            numpyro.sample("y", dist.Normal(effect[school], NOISE), obs=y)

    refused(demeaned, "depend")
    refused(within, "pass what is computed from other rows")


@pytest.mark.slow
def test_groups_that_depend_on_one_another_are_refused():
    def chain(x, school, n_school, y=None):
        mean = numpyro.sample("mean", dist.Normal(0, 1))
        with numpyro.plate("schools", n_school):
            effect = numpyro.sample("effect", dist.Normal(mean, 1))
        with numpyro.plate("pupil", x.shape[0]):
            both = effect[school] + effect[(school + 1) % n_school]
            numpyro.sample("y", dist.Normal(both, NOISE), obs=y)

    refused(chain, "changes the density of other rows")


@pytest.mark.slow
def test_latents_of_rows_within_groups_are_refused():
    def overdispersed(x, school, n_school, y=None):
        mean = numpyro.sample("mean", dist.Normal(0, 1))
        with numpyro.plate("schools", n_school):
            effect = numpyro.sample("effect", dist.Normal(mean, 1))
        with numpyro.plate("pupil", x.shape[0]):
            own = numpyro.sample("own", dist.Normal(0, 1))
            numpyro.sample("y", dist.Poisson(jnp.exp(effect[school] + own)), obs=y)

    refused(overdispersed, "'own' has a value for each row")


def test_a_forgotten_number_of_groups_is_not_taken_for_that_of_rows():
    def fixed(x, group, n_groups, y=None):
        with numpyro.plate("groups", n_groups):
            effect = numpyro.sample("effect", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(effect[group] + x, 1), obs=y)

    inputs = X | {"group": dist.Categorical(np.ones(5) / 5)}
    with pytest.raises(ModelError, match="it seems to count the groups of 'group'"):
        ap.Task(fixed, inputs, rows=(8, 16))
    task = ap.Task(fixed, inputs, rows=(8, 16), constants={"n_groups": 5})
    assert task.latents.shapes == {"effect": (5,)}


def test_a_flat_prior_is_told_a_proper_one():
    def flat(x, school, n_school, y=None):
        mean = numpyro.sample("mean", dist.ImproperUniform(dist.constraints.real, (), ()))
        with numpyro.plate("schools", n_school):
            effect = numpyro.sample("effect", dist.Normal(mean, 1))
        with numpyro.plate("pupil", x.shape[0]):
            numpyro.sample("y", dist.Normal(effect[school], NOISE), obs=y)

    with pytest.raises(ModelError, match=r"'mean' ~ ImproperUniform .* comes closest to Normal"):
        ap.Task(flat, X, groups=GROUPS)


def test_the_model_of_groups_leads_back_to_that_of_rows(intercepts_task, passes_task):
    assert model_of_rows(intercepts) is None
    assert model_of_rows(intercepts_task.model).model is intercepts
    behind = model_of_rows(passes_task.model)
    assert (behind.arguments.index, behind.arguments.whole) == ("school", ("size",))


@pytest.mark.slow
@pytest.mark.parametrize("count", [lambda g: g.max() + 1, lambda g: len(np.unique(g))])
def test_groups_counted_from_their_index_are_told_to_be_an_argument(count):
    def counted(x, group, y=None):
        with numpyro.plate("groups", count(group)):
            effect = numpyro.sample("effect", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(effect[group] + x, 1), obs=y)

    inputs = X | {"group": dist.Categorical(np.ones(5) / 5)}
    with pytest.raises(ModelError, match="an argument 'n_group'"):
        ap.Task(counted, inputs, rows=(8, 16))
    with pytest.raises(ModelError, match=r"Write 'n_group' as an argument .* as group.max"):
        ap.Task(counted, X, groups={"group": (3, 6)})


@pytest.mark.slow
def test_the_structure_is_described(passes_task):
    said = passes_task.describe()
    assert "4 to 32 groups of 'school', 1 to 6 rows in each" in said
    assert "latents of each school (integrated out, by quadrature over 1 number)" in said
    assert "size, one a school" in said and "mean ~ Normal" in said
