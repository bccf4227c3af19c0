"""Several groupings in one task: places, labels, and what the model is given."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.data.several_groups import (
    keep_present,
    number_groups,
    place_new_rows,
    plate_labels,
    refuse_parts_of_groupings,
)
from amortppl.errors import DataError, ModelError
from amortppl.gaussian.shared_correction import SharedCorrection
from amortppl.runtime.numpy_evaluation import construct, evaluate
from amortppl.task.several_groups import SeveralGroups

NESTED = {"groups": {"school": (2, 3), "room": (1, 2)}, "by_group": {"room": ["school"]}}


def rooms(school, room, n_school, n_room, y=None):
    """A room's effect is about that of its school."""
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    with numpyro.plate("schools", n_school):
        of_school = numpyro.sample("of_school", dist.Normal(0, 1))
    with numpyro.plate("rooms", n_room):
        of_room = numpyro.sample("of_room", dist.Normal(of_school[school], spread))
    with numpyro.plate("row", room.shape[0]):
        numpyro.sample("y", dist.Normal(of_room[room], 1), obs=y)


DATA = {
    "school": ["b", "a", "b", "b"],
    "room": ["b2", "a1", "b1", "b2"],
    "y": [0.1, 0.2, 0.3, 0.4],
}


@pytest.fixture(scope="module")
def task():
    return ap.Task(rooms, rows=(4, 16), **NESTED)


def test_nested_labels_take_places_of_their_group(task):
    dataset = read(task, DATA)
    assert dataset.places == {"school": {"a": 0, "b": 1}, "room": {"a1": 0, "b1": 2, "b2": 3}}
    assert dataset.arrays["room"].tolist() == [3, 0, 2, 3]
    draws = {"of_room": np.arange(6)[None], "of_school": np.arange(3)[None]}
    kept = keep_present(task, draws, dataset.places)
    assert kept["of_room"].tolist() == [[0, 2, 3]] and kept["of_school"].tolist() == [[0, 1]]
    assert plate_labels(task, dataset.places) == {
        "schools": ["a", "b"],
        "rooms": ["a1", "b1", "b2"],
    }


def test_the_density_is_that_of_the_groups_at_hand(task):
    """Of a model with two schools and three rooms; the other places add their prior alone."""
    arrays = read(task, DATA).arrays
    vector = jnp.asarray(np.random.default_rng(0).normal(size=task.latents.size), jnp.float32)
    values = evaluate(task.constrain, vector, arrays)
    rows = evaluate(task.log_densities, vector, arrays)[1]
    mean = values["of_room"][[3, 0, 2, 3]]
    truth = -0.5 * (np.array(DATA["y"]) - mean) ** 2 - 0.5 * np.log(2 * np.pi)
    assert rows == pytest.approx(truth, abs=1e-5)
    prior = float(evaluate(task.log_prior, vector))
    spread, above = values["spread"], np.repeat(values["of_school"], 2)
    own = -0.5 * ((values["of_room"] - above) / spread) ** 2 - np.log(spread)
    total = own.sum() - 0.5 * (values["of_school"] ** 2).sum() - 4.5 * np.log(2 * np.pi)
    total += -(spread**2) / 2 + 0.5 * np.log(2 / np.pi) + np.log(spread)
    assert prior == pytest.approx(float(total), abs=1e-4)


def test_simulated_rooms_lie_in_their_schools():
    several = SeveralGroups("rooms", rooms, **NESTED)
    room = evaluate(lambda k: several.sources()["room"].rows(k, 500), jr.key(0))
    assert several.constants()["school"].tolist() == [0, 0, 1, 1, 2, 2]
    assert 2 <= len(np.unique(np.asarray(room) // 2)) <= 3 and np.max(room) < 6


def test_new_rows_keep_the_places_of_their_labels(task):
    """New labels take free ones: another room of the school, another school."""
    new = place_new_rows(task, DATA, {"school": ["b", "a", "c"], "room": ["b1", "a9", "c1"]})
    assert read(task, new, observed=False).arrays["room"].tolist() == [2, 1, 4]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"school": ["b", "a", "b", "a"]}, "'b2' is in two"),
        ({"room": ["b2", "a1", "b1", "b3"]}, "more than 2 groups of 'room' in one school"),
        ({"school": ["b", "a", "c", "d"], "room": list("wxyz")}, "more than 3 groups of 'school'"),
        ({"room": pd.Categorical(DATA["room"], ["a1", "b1", "b2", "b9"])}, "'b9' has no rows"),
        ({"n_room": 2.5}, "'n_room' should be how many groups"),
        ({"n_school": 3}, "'n_school' says 3 groups, and the labels in 'school' are 2"),
    ],
)
def test_labels_that_do_not_fit(task, changed, words):
    with pytest.raises(DataError, match=words):
        read(task, DATA | changed)


def test_crossed_labels_and_mini_batches(task):
    def crossed(subject, item, n_subject, n_item, y=None): ...

    several = SeveralGroups("crossed", crossed, {"subject": (2, 30), "item": (2, 20)}, {})
    assert several.constants() == {"n_subject": 30, "n_item": 20}
    numbered = number_groups(several, {"subject": [7, 9, 7], "item": ["x", "x", "y"]}).data
    assert numbered["subject"].tolist() == [0, 1, 0] and numbered["item"].tolist() == [0, 0, 1]
    with pytest.raises(DataError, match="not in mini-batches"):
        refuse_parts_of_groupings(task)


def test_numbers_of_groups_and_categories_without_rows(task):
    """Groups that data count have places, as those that have rows."""
    crossed = SeveralGroups("rooms", rooms, NESTED["groups"] | {"room": (1, 3)}, {})
    own = DATA | {"school": [0, 1, 0, 0], "n_school": 3}
    empty = own | {"room": pd.Categorical(DATA["room"], ["a1", "b2", "b1"])}
    assert number_groups(crossed, own).labels["school"] == {0: 0, 1: 1, 2: 2}
    assert [*number_groups(crossed, empty).labels["room"]] == ["a1", "b2", "b1"]
    assert read(task, DATA | {"n_room": 3, "n_school": 2}).places == read(task, DATA).places


def test_effects_of_several_groupings_share_a_correction(task):
    """Coefficients are four a latent, whatever the number of places."""
    spec = ap.method("parametric", density="diagonal", width=4, hidden=8)
    method = construct(spec.build, task, jr.key(0))
    assert isinstance(method.correct, SharedCorrection)
    assert method.density.coefficients == 4 * task.latents.size
    assert method.correct.sites == (0,) * 6 + (1,) * 3 + (2,)


def test_the_groupings_are_described(task):
    said = task.describe()
    assert "2 to 3 groups of 'school' and 1 to 2 groups of 'room' in each school" in said
    assert "latents of each room\n    of_room ~ Normal [6] in 'rooms'" in said


def test_a_model_that_takes_other_indices_is_told_of_by_group():
    with pytest.raises(ModelError, match=r"pass by_group=.'room': .'school'.."):
        ap.Task(rooms, rows=(4, 16), groups=NESTED["groups"])

    def of_rows(school, room, n_school, n_room, y=None):
        spread = numpyro.sample("spread", dist.HalfNormal(1))
        with numpyro.plate("rooms", n_room):
            of_room = numpyro.sample("of_room", dist.Normal(0, spread))
        with numpyro.plate("row", room.shape[0]):
            numpyro.sample("y", dist.Normal(of_room[room] + school, 1), obs=y)

    with pytest.raises(ModelError, match="takes that of each row, leave by_group out"):
        ap.Task(of_rows, rows=(4, 16), **NESTED)


def test_what_is_told_wrong():
    with pytest.raises(ModelError, match="no argument 'class'"):
        SeveralGroups("rooms", rooms, {"school": 3, "class": 2}, {})
    with pytest.raises(ModelError, match="every room lies in one size"):
        SeveralGroups("rooms", rooms, NESTED["groups"], {"room": ["size"]})
