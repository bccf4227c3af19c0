"""Whether a model is the one a guide was trained for: by its sites, and by what it says at three
points.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from amortppl.errors import GuideError
from amortppl.runtime.compilation import run_once
from amortppl.task.abstract import AbstractTask


def check_values(task: AbstractTask) -> dict[str, np.ndarray]:
    """Densities of a model where all entries of its latents' unconstrained vector are -1, 0 or 1.

    Three numbers each of its log prior, of the log likelihood of rows of ones, and of every
    latent's mean entry; empty without latents.

    Sites, shapes and families make the fingerprint; this tells apart models whose priors, bounds or
    noise differ.
    """
    densities = run_once(_at_three_points, task) if task.latents.size else {}
    return {
        n: np.clip(np.nan_to_num(np.asarray(v, np.float64)), -1e30, 1e30)
        for n, v in densities.items()
    }


def _at_three_points(task: AbstractTask) -> dict[str, jax.Array]:
    lead = 2 if task.grouping else 1  # of groups, one row each: their sizes are no part of it
    whole = task.grouping.arguments.whole if task.grouping else ()
    count = next(iter(task.rows_like.values())).shape[0]
    ones = {
        n: jnp.ones((count, *[1] * (lead - 1 if n not in whole else 0), *shape), like.dtype)
        for (n, shape), like in zip(task.row_shapes.items(), task.rows_like.values(), strict=True)
    }

    def at(vector: jax.Array) -> dict[str, jax.Array]:
        latents = {n: jnp.mean(v) for n, v in task.sites_at(vector, ones)[0].items()}
        if not task.has_density:
            return latents
        prior, rows = task.log_densities(vector, ones)
        return {"log prior": prior, "log likelihood": jnp.sum(rows), **latents}

    return jax.vmap(at)(jnp.array([-1.0, 0.0, 1.0])[:, None] * jnp.ones(task.latents.size))


def expect_same_model(path: Path, about: Mapping[str, Any], task: AbstractTask) -> None:
    """Refuses a model whose sites or densities differ from those that a guide was trained for.

    Args:
        path: the guide's folder.
        about: what it holds of its task; folders of earlier versions lack the densities.
        task: the model here.

    Raises:
        GuideError: what differs, then and now.
    """
    if task.fingerprint != about["fingerprint"]:
        raise GuideError(
            f"{path}: trained for the model {about['name']!r} with other sites (fingerprint "
            f"{about['fingerprint']}, "
            f"here {task.fingerprint}: arguments {task.arguments}, latents "
            f"{task.latents.unconstrained}). The model "
            "has changed since, or it is another one; train again"
        )
    was, now = about.get("says", {}), check_values(task)
    other = [n for n, v in was.items() if not np.allclose(v, now[n], rtol=1e-3, atol=1e-3)]
    if other:
        each = "; ".join(
            f"{n} {was[n]} then, {np.round(now[n], 4).tolist()} now" for n in other[:3]
        )
        raise GuideError(
            f"{path}: trained for the model {about['name']!r} with another prior, other bounds or "
            f"another likelihood "
            f"({each}; where the latents' unconstrained vector is -1, 0 and 1). The model has "
            f"changed since, or it is "
            "another one; train again"
        )
