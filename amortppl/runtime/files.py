"""Arrays on disk, written to a temporary name and renamed so that a failed write loses nothing."""

import json
import os
import re
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

DIGEST = "digest"
"""Key of the SHA-256 of all that a file holds beside it."""

MANY = 1 << 34
"""Bytes of the largest file that is read as a whole."""


def write(path: str | Path, content: bytes) -> None:
    """Replaces a file in one move; on any failure the old one stays.

    Raises:
        OSError: the place cannot be written, or holds a device, a pipe or a folder.
    """
    path = Path(path)
    expect_plain(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not mkstemp, whose files only their owner may read.
    name = path.with_name(f".{path.name[:200]}.{token_hex(4)}")
    try:
        with open(name, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise


def expect_plain(path: Path) -> None:
    """Refuses to write where something else than a plain file is.

    Raises:
        OSError: a device, a pipe, a socket or a folder is there, or the name cannot be one.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except ValueError as error:  # a name with a null byte
        raise OSError(f"{str(path)!r}: no name for a file ({error})") from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path}: expected a name for a file, this is a folder")
    if not stat.S_ISREG(mode):
        raise OSError(f"{path}: expected a plain file or nothing, found {kind_of(mode)}")


def kind_of(mode: int) -> str:
    """Words for what a path holds."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFREG: "a file",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def read_plain(path: str | Path, limit: int = MANY) -> bytes:
    """The bytes of a plain file.

    Args:
        limit: bytes that it may have at most.

    Raises:
        OSError: no such file.
        ValueError: a device, a pipe or a folder, or a file of more bytes.
    """
    # without waiting, as a pipe without a writer would never open
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError(f"{path}: expected a plain file, found {kind_of(about.st_mode)}")
        if about.st_size > limit:
            raise ValueError(f"{path}: {about.st_size:,} bytes are more than the {limit:,} allowed")
        with open(handle, "rb", closefd=False) as file:
            return file.read(limit + 1)
    finally:
        os.close(handle)


def pack(tree: Any, about: dict[str, Any]) -> bytes:
    """A PyTree's arrays by path, with JSON and a digest of both beside them, as safetensors."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf, order="C") for path, leaf in leaves}
    told = json.dumps(about)
    return save(arrays, metadata={"about": told, DIGEST: _digest(arrays, told)})


def _digest(arrays: dict[str, np.ndarray], about: str) -> str:
    digest = sha256(about.encode())
    for name in sorted(arrays):
        each = arrays[name]
        digest.update(f"{name}:{each.dtype}:{each.shape};".encode())
        digest.update(np.ascontiguousarray(each).tobytes())
    return digest.hexdigest()


def unpack(
    path: str | Path, like: Any, renamed: Mapping[str, str] | None = None
) -> tuple[Any, dict[str, Any]]:
    """Reads what `pack` wrote into the structure of `like` (None: a dict of arrays by path).

    Args:
        path: the file.
        like: a tree of the arrays' structure and shapes.
        renamed: old names of attributes, and their names now, in files written before.

    Raises:
        ValueError: the file is damaged, or its arrays are not those of `like`.
    """
    return unpack_bytes(path, read_plain(path), like, renamed)


def unpack_bytes(
    path: str | Path, content: bytes, like: Any, renamed: Mapping[str, str] | None = None
) -> tuple[Any, dict[str, Any]]:
    """As `unpack`, of a file at `path` that was read before."""
    arrays, about = _parse(path, content)
    if like is None:
        return arrays, about
    expected = {
        jax.tree_util.keystr(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(like)
    }
    if renamed and arrays.keys() - expected.keys():
        arrays = {_rename(n, renamed): a for n, a in arrays.items()}
    wrong = [n for n in expected.keys() ^ arrays.keys()] or [
        n
        for n, a in expected.items()
        if a.shape != arrays[n].shape or np.dtype(a.dtype) != arrays[n].dtype
    ]
    if wrong:
        raise ValueError(
            f"{path}: its arrays are of another structure (first difference: {sorted(wrong)[0]})"
        )
    tree = jax.tree_util.tree_map_with_path(lambda p, _: arrays[jax.tree_util.keystr(p)], like)
    return jax.device_put(tree), about


def _parse(path: str | Path, content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by path and the JSON beside them, as they were written."""
    try:
        arrays = load(content)
        length = int.from_bytes(content[:8], "little")
        notes = json.loads(content[8 : 8 + length])["__metadata__"]
        about = json.loads(notes["about"])
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a complete safetensors file ({error}); it may have been cut short"
        ) from error
    # Files written before digests were kept have none
    if notes.get(DIGEST, expected := _digest(arrays, notes["about"])) != expected:
        raise ValueError(
            f"{path}: damaged, or changed since it was written (its digest differs); copy or make "
            f"it again"
        )
    if not isinstance(about, dict):
        raise ValueError(f"{path}: expected a JSON object beside the arrays")
    return arrays, about


def _rename(path: str, renamed: Mapping[str, str]) -> str:
    """A path with attributes by their names now: `['value'].low` -> `['value'].rounding_error`."""
    return re.sub(r"(?<=\.)\w+", lambda name: renamed.get(name[0], name[0]), path)
