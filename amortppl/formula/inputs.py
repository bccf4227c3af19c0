"""The inputs of a formula's program, of the rows of a design."""

from collections.abc import Mapping

import numpy as np

from amortppl.formula.design import Design
from amortppl.formula.program import Parts, arguments_of


def program_data(
    parts: Parts, design: Design, missing: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The inputs of the program for the rows of a design.

    Args:
        missing: the numbers of each row's missing cells, by argument.
    """
    data: dict[str, np.ndarray] = {}
    rows = len(design.matrix)
    for name in arguments_of(parts):
        if name == "x":
            data[name] = parts.scaling.standardize(design.matrix)
        elif name == "offset":
            data[name] = (
                np.zeros(rows) if design.offset is None else np.asarray(design.offset, float)
            )
        elif name in missing:
            data[name] = missing[name]
    for group in design.groups:
        data[group.name] = group.index
        if not group.intercept_only:
            data[f"{group.name}_x"] = group.matrix
    return {n: data[n] for n in arguments_of(parts) if n in data}
