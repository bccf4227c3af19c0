"""Effects of levels that the rows fitted did not have.

Given the sds and correlations of a draw, the effects of a new level are K normals about zero with
the covariance of a level's effects. Rows of one new level share them.
"""

from collections.abc import Mapping

import numpy as np

from amortppl.formula.design import Group
from amortppl.formula.formula import Formula


def with_new_levels(
    form: Formula,
    draws: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    seed: int | None,
) -> dict[str, np.ndarray]:
    """The draws with effects of the levels that the inputs number behind those fitted.

    Args:
        form: the formula.
        draws: of every variable, (S, ...).
        inputs: of the program.
        seed: of the new effects; None makes them zero, the centre of all levels.
    """
    longer = dict(draws)
    for place, group in enumerate(form.parts.design.groups):
        name = f"{group.name}_effect"
        more = int(np.max(inputs[group.name], initial=-1)) + 1 - draws[name].shape[1]
        if more > 0:
            effects = _new_effects(group, draws, more, None if seed is None else [seed, 31, place])
            longer[name] = np.concatenate([draws[name], effects], 1)
    return longer


def _new_effects(
    group: Group, draws: Mapping[str, np.ndarray], count: int, seed: list[int] | None
) -> np.ndarray:
    """Effects (S, count, K)."""
    sds = np.asarray(draws[f"{group.name}_sd"])
    shape = (len(sds), count, sds.shape[1])
    if seed is None:
        return np.zeros(shape, sds.dtype)
    standard = np.random.default_rng(seed).normal(size=shape).astype(sds.dtype)
    factor = draws.get(f"{group.name}_factor")
    if factor is not None:
        standard = np.einsum("skj,slj->slk", factor, standard)
    return standard * sds[:, None]
