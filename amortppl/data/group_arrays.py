"""Arguments of rows in groups, taken apart before their values are checked and arranged after."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from amortppl.data.checks import outside_support, support_mask
from amortppl.data.groups import NUMBERS, Groups, filled, one_a_group, read_groups
from amortppl.task.abstract import AbstractTask
from amortppl.task.grouped_model import Arguments


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
    return own, groups


def arrange_groups(
    names: Arguments, groups: Groups, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Arrays of lines, (L, ...) or (L, R, ...), and which places hold rows under the index."""
    lines = groups.lines()
    own = {n: v[lines.owner] if n in names.whole else lines.arrange(v) for n, v in arrays.items()}
    return own | {names.index: lines.counts()}


def rows_in_support(task: AbstractTask, groups: Groups, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses observations outside the support of the site that they feed.

    Raises:
        DataError: naming the first of them.
    """
    names = task.groups.arguments
    arranged = arrange_groups(names, groups, arrays)
    lines = groups.lines()
    more = filled(len(lines.owner), NUMBERS) - len(lines.owner)
    padded = {n: np.concatenate([v, np.repeat(v[:1], more, 0)]) for n, v in arranged.items()}
    for name, inside in support_mask(task, padded).items():
        own = np.asarray(inside)
        own = own[: len(groups.labels)] if name in names.whole else lines.rows(own)
        if not own.all():
            raise outside_support(task, name, arrays[name], own)
