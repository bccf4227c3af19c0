"""Whether a model is the one a guide was trained for: by its sites, and by what it says at three
points.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amortppl.errors import GuideError
from amortppl.task.abstract import AbstractTask
from amortppl.task.check_values import check_values


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
