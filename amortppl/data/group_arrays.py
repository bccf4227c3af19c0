"""Arguments of rows in groups, taken apart before their values are checked and arranged after."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from amortppl.data.checks import outside_support, support_mask
from amortppl.data.groups import Groups, one_a_group, read_groups
from amortppl.task.abstract import AbstractTask
from amortppl.task.grouped_model import Arguments

SPARSE, LARGE = 16, 1 << 21
"""Places in the arrays for each row of the data, and places in all, from which on a warning tells
that most are empty.
"""


def split_groups(
    names: Arguments, values: Mapping[str, Any], labels: Sequence[Any] | None
) -> tuple[dict[str, Any], Groups]:
    """The arguments but for the index of the groups, those of the groups with one value each.

    Raises:
        DataError: the labels are no labels, or an argument of the groups does not fit them.
    """
    groups = read_groups(values[names.index], names.index, labels)
    own = {
        n: one_a_group(n, v, groups, names.index) if n in names.whole else v
        for n, v in values.items()
        if n != names.index
    }
    places, rows = groups.counts().size, len(groups.group)
    if places > LARGE and places > SPARSE * rows:
        warnings.warn(
            f"{names.index}: {len(groups.labels)} groups of {rows} rows take {places} places, as "
            "each is filled up to as many rows as the largest has. Split the largest groups, or "
            "thin their rows",
            stacklevel=5,
        )
    return own, groups


def arrange_groups(
    names: Arguments, groups: Groups, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Arrays of groups, (G, ...) or (G, R, ...), and which places hold rows under the index."""
    own = {n: v if n in names.whole else groups.arrange(v) for n, v in arrays.items()}
    return own | {names.index: groups.counts()}


def rows_in_support(task: AbstractTask, groups: Groups, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses observations outside the support of the site that they feed.

    Raises:
        DataError: naming the first of them.
    """
    names = task.groups.arguments
    arranged = arrange_groups(names, groups, arrays)
    more = (1 << (len(groups.labels) - 1).bit_length()) - len(groups.labels)
    padded = {n: np.concatenate([v, np.repeat(v[:1], more, 0)]) for n, v in arranged.items()}
    for name, inside in support_mask(task, padded).items():
        own = np.asarray(inside)[: len(groups.labels)]
        own = own if name in names.whole else groups.rows(own)
        if not own.all():
            raise outside_support(task, name, arrays[name], own)
