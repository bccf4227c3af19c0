"""The weights of a trained guide, for a method that begins with them."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from amortppl.errors import GuideError
from amortppl.runtime.files import unpack


def options_of(folder: str | Path, method: str) -> dict[str, Any]:
    """The options that a guide was built with.

    Args:
        folder: the guide's.
        method: the name of the method that it must be of.

    Raises:
        GuideError: no guide there, or one of another method.
    """
    about = Path(folder) / "guide.json"
    if not about.is_file():
        raise GuideError(f"start: expected the folder of a guide, found no {about}")
    saved = json.loads(about.read_text())["method"]
    if saved["module"].split(".")[-1] != method:
        raise GuideError(
            f"start: expected a guide of {method!r}, the one in {folder} is of {saved['module']}"
        )
    return saved["options"]


def with_weights_of[M](folder: str | Path, method: M) -> M:
    """A method with a guide's arrays in the place of those that have the same names.

    Raises:
        GuideError: an array of the guide has another shape.
    """
    arrays, _ = unpack(Path(folder) / "weights.safetensors", None)

    def taken(path: Any, leaf: Any) -> Any:
        kept = arrays.get("['method']" + jax.tree_util.keystr(path))
        if kept is None or not hasattr(leaf, "shape"):
            return leaf
        if kept.shape != leaf.shape:
            raise GuideError(
                f"start: in the guide in {folder} {jax.tree_util.keystr(path)} has shape "
                f"{kept.shape}, and this task "
                f"needs {leaf.shape}; the arguments of both tasks must be of the same shapes"
            )
        return jnp.asarray(kept)

    return jax.tree_util.tree_map_with_path(taken, method)
