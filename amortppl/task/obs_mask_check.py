"""Whether what fills rows that are missing (`amortppl.task.obs_mask`) has a part elsewhere in a
model.
"""

from typing import Any

import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.errors import ModelError
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.obs_mask import OBSERVED
from amortppl.task.parity import simulated


def refuse_used_fill(task: AbstractTask) -> None:
    """Refuses a model in which what fills the missing rows has a part elsewhere.

    Raises:
        ModelError: another site's log density changes with it.
    """
    for site, twin in task.twins.items():
        one, two = evaluate(lambda key, twin=twin: _densities(task, key, twin), seed_key(3))
        moved = [
            n
            for n in one
            if n != twin and not np.allclose(one[n], two[n], rtol=1e-5, equal_nan=True)
        ]
        if moved:
            raise ModelError(
                f"{task.name}: {site.removesuffix(OBSERVED)!r} is missing in some rows (obs_mask), "
                f"and the site "
                f"{moved[0]!r} depends on what fills them, which is not inferred here. Sample what "
                f"is missing as a "
                "latent of its own, in the plate of the rows, or take these rows out"
            )


def _densities(task: AbstractTask, key: Array, twin: str) -> Any:
    """Log densities by site with two values of what fills the missing rows."""
    rows = task.probe_rows[0]
    inputs = task.input_rows(key, rows)
    fills = [task.program.trace(jr.fold_in(key, i), inputs, rows)[twin]["value"] for i in (0, 1)]
    point = simulated(task, key, rows)
    latents = task.latents.unflatten(point.vector) | point.local
    return [task.plain.density(latents, point.data, {twin: fill}).sites for fill in fills]
