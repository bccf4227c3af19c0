"""Intervals with one end: the other one says nothing, and is replaced by it."""

from collections.abc import Mapping

import numpy as np

from amortppl.task.abstract import AbstractTask


def fill_ends(task: AbstractTask, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Observations of which the end that a censored row lacks is the other one, as in simulations.

    The density of such a row does not depend on it. Data have infinity, NaN or anything there.

    Args:
        task: whose model has interval-censored sites, or none.
        arrays: numbers by argument, as they came.
    """
    filled = dict(arrays)
    for argument, site in task.observed.items():
        for name, indicator in task.censoring.indicators.items() if task.censoring else ():
            ends = filled.get(argument)
            of_interval = indicator.site == site and "Interval" in indicator.kind
            if not of_interval or ends is None or ends.shape[-1:] != (2,) or name not in filled:
                continue
            lacks = np.equal(filled[name], indicator.censored)
            if lacks.shape == ends.shape[:-1]:
                end = 0 if indicator.flag == "left_censored" else 1
                ends = np.array(ends)
                ends[..., end] = np.where(lacks, ends[..., 1 - end], ends[..., end])
                filled[argument] = ends
    return filled
