"""Arrays on disk: written to a temporary name and renamed, so that a failed write loses nothing."""

import json
import os
from pathlib import Path
from secrets import token_hex
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save


def write(path: str | Path, content: bytes) -> None:
    """Replaces a file in one move; on any failure the old one stays."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.with_name(
        f".{path.name}.{token_hex(4)}"
    )  # not mkstemp, whose files only their owner may read
    try:
        with open(name, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise


def pack(tree: Any, about: dict[str, Any]) -> bytes:
    """A PyTree's arrays by path, with JSON beside them, as safetensors."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf, order="C") for path, leaf in leaves}
    return save(arrays, metadata={"about": json.dumps(about)})


def unpack(path: str | Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Reads what `pack` wrote into the structure of `like` (None: a dict of arrays by path).

    Raises:
        ValueError: the file is damaged, or its arrays are not those of `like`.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = json.loads(file.metadata()["about"])
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: not a complete safetensors file ({error}); it may have been cut short"
        ) from error
    if like is None:
        return arrays, about
    expected = {
        jax.tree_util.keystr(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(like)
    }
    wrong = [n for n in expected.keys() ^ arrays.keys()] or [
        n for n, a in expected.items() if a.shape != arrays[n].shape
    ]
    if wrong:
        raise ValueError(
            f"{path}: its arrays are of another structure (first difference: {sorted(wrong)[0]})"
        )
    found = jax.tree_util.tree_map_with_path(lambda p, _: arrays[jax.tree_util.keystr(p)], like)
    return jax.device_put(found), about
