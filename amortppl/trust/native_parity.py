"""At `infer` a Pyro model is compared with Pyro's own log density too, which the translated model's
comparison cannot replace: both are translated.
"""

from collections.abc import Sequence

import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.posterior.draws import Drawn
from amortppl.task.abstract import AbstractTask
from amortppl.trust.parity import Parity, middle_draws, widen

DATASETS, ROWS = 8, 4096
"""Datasets of a call that are run by torch, at most, and their first rows."""


def judge_native(
    task: AbstractTask, datasets: Sequence[Dataset], drawn: Drawn, parity: Parity
) -> dict[int, str]:
    """Compares the sites of the middle draw of some datasets with Pyro's trace.

    Where they differ `parity` no longer agrees, and where Pyro fails nothing counts as checked.

    Returns:
        A note for each dataset whose sites differ.
    """
    if not task.has_density or not task.native:
        return {}
    notes: dict[int, str] = {}
    for place, vector in middle_draws(datasets, drawn, DATASETS):
        data = _some(task, widen(task, datasets[place]))
        differences = task.native.differences(vector, data)
        if task.native.failure:
            parity.checked[:], parity.agrees[:] = False, False
            return notes
        for site, model, translated in differences[:1]:
            parity.error[place] = translated - model
            parity.checked[place], parity.agrees[place] = True, False
            notes[place] = (
                f"NOT RELIABLE, Pyro's own log density of the site {site!r} is {model:.6g}, that "
                f"of the model as amortppl runs it {translated:.6g}"
            )
    return notes


def _some(task: AbstractTask, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As many first rows as a power of two has, so that few programs are traced."""
    rows = len(next(iter(data.values())))
    if not task.independent:
        return data
    return {n: v[: min(1 << rows.bit_length() - 1, ROWS)] for n, v in data.items()}
