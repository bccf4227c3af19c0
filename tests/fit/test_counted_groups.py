"""Several groupings of the same rows, counted from their labels."""

import inspect

import numpy as np
import pandas as pd
import pytest

from amortppl.errors import DataError, ModelError
from amortppl.fit.counted_groups import count_groups, explain_nesting


def model(x, school, room, n_school, n_room, y=None): ...


DATA = {
    "x": np.arange(4.0),
    "school": ["b", "b", "a", "a"],
    "room": ["2", "2", "1", "3"],
    "y": np.zeros(4),
}
ARGUMENTS = inspect.signature(model).parameters


def test_rooms_that_lie_in_schools_have_one_entry_a_room():
    counted = count_groups(ARGUMENTS, [DATA], {"room": ["school"]})
    [data] = counted.datasets
    assert data["room"].tolist() == [1, 1, 0, 2] and data["school"].tolist() == [0, 1, 0]
    assert (data["n_school"], data["n_room"]) == (2, 3)
    assert counted.labels == {"school": ["a", "b"], "room": ["1", "2", "3"]}


def test_datasets_of_a_list_share_their_labels():
    other = DATA | {"school": ["c"] * 4}
    first, second = count_groups(ARGUMENTS, [DATA, other], {}).datasets
    assert first["school"].tolist() == [1, 1, 0, 0] and second["school"].tolist() == [2] * 4
    assert first["n_school"] == second["n_school"] == 3


def test_a_nested_group_without_rows_is_named():
    other = {n: v[2:] for n, v in DATA.items()}
    with pytest.raises(DataError, match="'2' has no rows that could tell it"):
        count_groups(ARGUMENTS, [DATA, other], {"room": ["school"]})


@pytest.mark.parametrize(
    ("changed", "by_group", "told"),
    [
        ({}, {}, True),
        ({}, {"room": ["school"]}, False),
        ({"room": ["1", "2", "1", "2"]}, {}, False),
    ],
    ids=["nested", "nested, as by_group says", "crossed"],
)
def test_a_model_that_fails_for_nested_groups_is_told_of_by_group(changed, by_group, told):
    counted = count_groups(ARGUMENTS, [DATA | changed], by_group)
    with pytest.raises(ModelError) as raised, explain_nesting(counted, by_group):
        raise ModelError("shapes (4,) and (3,)")
    assert ("pass by_group={'room': ['school']}" in str(raised.value)) == told


def test_one_grouping_is_left_to_the_task():
    one = DATA | {"room": [1, 1, 0, 2], "n_room": 3}
    assert count_groups(ARGUMENTS, [one], {}) is None


def test_a_category_without_rows_is_a_group_and_numbers_of_labels_are_checked():
    room = pd.Categorical(DATA["room"], ["3", "1", "0", "2"])
    [data] = count_groups(ARGUMENTS, [DATA | {"room": room, "n_room": 4}], {}).datasets
    assert data["n_room"] == 4 and data["room"].tolist() == [3, 3, 1, 0]
    with pytest.raises(DataError, match="'n_room' says 5 groups, and the labels in 'room' are 3"):
        count_groups(ARGUMENTS, [DATA | {"n_room": 5}], {})


@pytest.mark.parametrize(
    ("changed", "by_group", "match"),
    [
        ({"room": ["2", "1", "1", "3"]}, {"room": ["school"]}, "'1' is in 'b' and in 'a'"),
        ({}, {"class": ["school"]}, "'class' is none of the groupings 'school', 'room'"),
        ({"room": ["2", None, "1", "3"]}, {}, "no label at row 1"),
        ({"room": ["2", "2", "1"]}, {}, "'room' has 3 labels"),
    ],
    ids=["a room in two schools", "no such grouping", "no label", "other lengths"],
)
def test_what_does_not_fit_is_one_error(changed, by_group, match):
    with pytest.raises(DataError, match=match):
        count_groups(ARGUMENTS, [DATA | changed], by_group)
