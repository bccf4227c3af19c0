"""Several processes under `jax.distributed`: who leads, and how trees pass between them.

All works in one process too, without `jax.distributed`. What is called a collective must be called
by all processes, in the same order, and each must have the same number of devices.
"""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def leader() -> bool:
    """Whether this is process 0, the one that reports and writes."""
    return jax.process_index() == 0


def all_gather(tree: Any) -> Any:
    """The trees of all P processes stacked in their order: each leaf (...) becomes (P, ...). A
    collective.

    The leaves travel together as bytes, so that 64-bit numbers arrive as they are (JAX would make
    them 32 bits wide) and one call carries all.

    Raises:
        ValueError: the trees differ in paths, shapes or types; in every process.
    """
    tree = jax.tree.map(np.asarray, tree)
    if jax.process_count() == 1:
        return jax.tree.map(lambda a: a[None], tree)
    _alike(tree)
    rows = multihost_utils.process_allgather(_bytes(tree))
    return jax.tree.map(lambda *a: np.stack(a), *(_restore(row, tree) for row in rows))


def broadcast(tree: Any) -> Any:
    """Process 0's tree in every process. A collective; one process gets its own tree back
    untouched.

    Raises:
        ValueError: the trees differ in paths, shapes or types; in every process.
    """
    if jax.process_count() == 1:
        return tree
    tree = jax.tree.map(np.asarray, tree)
    _alike(tree)
    return _restore(np.asarray(multihost_utils.broadcast_one_to_all(_bytes(tree))), tree)


def mismatches(values: Mapping[str, Any]) -> dict[str, list[int]]:
    """Of named values that JSON can hold, those that are not process 0's everywhere: in which
    processes. A collective.

    Every process must give the same names, in the same order.
    """
    if jax.process_count() == 1:
        return {}
    texts = [json.dumps(value, sort_keys=True).encode() for value in values.values()]
    digests = np.frombuffer(b"".join(sha256(text).digest() for text in texts), np.uint8).reshape(
        len(texts), -1
    )
    rows = multihost_utils.process_allgather(digests)
    unlike = np.any(rows != rows[0], -1)
    return {
        name: np.flatnonzero(column).tolist()
        for name, column in zip(values, unlike.T, strict=True)
        if any(column)
    }


def run_on_all(action: Callable[[], Any], kind: type[Exception], what: str) -> Any:
    """The result of what every process does for itself, such as reading a file. A collective.

    Where it fails in some, the others stop too, instead of waiting for them for ever.

    Args:
        action: what to do.
        kind: the error to raise.
        what: what the action does, as in "`what` worked in the processes [0] only".

    Raises:
        kind: it failed here with this error, or in another process.
    """
    result, failure = None, None
    try:
        result = action()
    except (kind, OSError) as error:
        failure = error
    failed = np.flatnonzero(all_gather(np.array(failure is not None))).tolist()
    if not failed:
        return result
    if failure is not None and len(failed) == jax.process_count():
        raise failure
    worked = [i for i in range(jax.process_count()) if i not in failed]
    here = f"; here, in process {jax.process_index()}: {failure}" if failure is not None else ""
    raise kind(
        f"{what} worked in the processes {worked} and not in {failed}{here}. All processes must "
        f"see the same files: "
        f"use a file system that they share"
    ) from failure


def wait() -> None:
    """Returns when every process has come here. A collective."""
    mismatches({"here": True})


def mesh(axis: str) -> Mesh | None:
    """The devices of all processes along one axis; None for a single device."""
    devices = jax.devices()
    return Mesh(np.array(devices), (axis,)) if len(devices) > 1 else None


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """All of an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh | None) -> Any:
    """Puts arrays that every process holds alike on every device of the mesh (None: leaves
    them).
    """
    return (
        tree
        if mesh is None
        else multihost_utils.host_local_array_to_global_array(tree, mesh, PartitionSpec())
    )


def local(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays that are everywhere, as this process's first device has them (mesh None: leaves
    them).
    """
    return tree if mesh is None else jax.tree.map(lambda a: a.addressable_data(0), tree)


def _alike(tree: Any) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    said = [
        f"{jax.tree_util.keystr(path) or 'value'} {a.dtype}{list(a.shape)}" for path, a in leaves
    ]
    if wrong := mismatches({"arrays": said}):
        raise ValueError(
            f"processes: expected trees of the same arrays in all, but those of {wrong['arrays']} "
            f"differ from process "
            f"0's; here, in process {jax.process_index()}: {', '.join(said) or 'no array'}"
        )


def _bytes(tree: Any) -> np.ndarray:
    return np.frombuffer(b"".join(a.tobytes() for a in jax.tree.leaves(tree)), np.uint8)


def _restore(content: np.ndarray, like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    parts = np.split(content, np.cumsum([a.nbytes for a in leaves])[:-1])
    made = [
        np.frombuffer(p.tobytes(), a.dtype).reshape(a.shape).copy()
        for p, a in zip(parts, leaves, strict=False)
    ]
    return jax.tree.unflatten(structure, made)
