"""Random damage to files, and what may come of reading them: one of the library's own errors, or
what was there before.

`AMORTPPL_FUZZ` sets how many files are damaged, `AMORTPPL_FUZZ_SEED` the seed. Ordinary tests have
a fixed one otherwise, so that a change is judged by itself; the benchmark has that of the day.
"""

import contextlib
import copy
import json
import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import amortppl as ap
from amortppl.data.sources.whole import read_table
from amortppl.errors import DataError, DesignWarning, GuideError
from amortppl.guide.own_guides import FILES

HANG = 20
"""Seconds that reading one file may take."""


def seed_or(default: int) -> int:
    return int(os.environ.get("AMORTPPL_FUZZ_SEED", default))


def seed_of_the_day() -> int:
    return seed_or(int(f"{date.today():%Y%m%d}"))


def count(default: int) -> int:
    return int(os.environ.get("AMORTPPL_FUZZ", default))


class Hang(Exception):
    """Reading took too long."""


@contextlib.contextmanager
def limit(seconds: int = HANG) -> Iterator[None]:
    """Raises `Hang` when the block takes longer by the processor's time, or ten times as long by
    the clock's: the machine may be busy, and waiting takes no processor.
    """

    def stop(*_: Any) -> None:
        raise Hang(f"more than {seconds} s")

    before = [signal.signal(s, stop) for s in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
    try:
        yield
    finally:
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes flipped, cut, doubled, put in, zeroed or moved."""
    changed, size = bytearray(content), len(content)
    start = int(rng.integers(max(size, 1)))
    length = int(min(2 ** rng.integers(0, 10), max(size - start, 1)))
    kind = rng.integers(6)
    if kind == 0 and size:
        changed[start] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        changed = changed[:start]
    elif kind == 2:
        changed[start:start] = changed[start : start + length]
    elif kind == 3:
        changed[start:start] = rng.bytes(length)
    elif kind == 4:
        changed[start : start + length] = bytes(length)
    else:
        del changed[start : start + length]
    return bytes(changed)


ODD = (
    None, True, False, -1, 0, 1, 10**9, 10**30, -(2**63), 1e308, float("nan"), float("inf"), "",
    "x" * 5000, "../../etc/passwd", "unittest.__main__", "os", "\0", [], {}, [[]], [None] * 3,
    {"": {}}, [1e9] * 100,
)  # fmt: skip


def damage_json(content: bytes, rng: np.random.Generator) -> bytes:
    """One value of a JSON file made odd, left out, renamed, or taken from elsewhere in it."""
    root = json.loads(content)
    nodes = list(_nodes(root))
    parent, key = nodes[rng.integers(len(nodes))]
    kind = rng.integers(5)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[f"{key}_"] = parent.pop(key)
    elif kind == 2:
        other, name = nodes[rng.integers(len(nodes))]
        parent[key] = copy.deepcopy(other[name])
    else:
        parent[key] = ODD[rng.integers(len(ODD))]
    return json.dumps(root).encode()


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        yield value, key
        if isinstance(each, dict | list):
            yield from _nodes(each)


def _replaced(path: Path, rng: np.random.Generator) -> None:
    """Another kind of thing in a file's place."""
    path.unlink()
    kind = rng.integers(4)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path.name)


def damage_guide(folder: Path, rng: np.random.Generator) -> None:
    """One file of a guide's folder, and half of the time the hash that tells of it."""
    name = FILES[rng.choice(3, p=[0.5, 0.3, 0.2])]
    path = folder / name
    if rng.random() < 0.05:
        return _replaced(path, rng)
    as_json = name.endswith(".json") and rng.random() < 0.8
    path.write_bytes((damage_json if as_json else damage)(path.read_bytes(), rng))
    if name == "certificate.json" and rng.random() < 0.5:
        about = json.loads((folder / "guide.json").read_text())
        about["certificate"] = sha256(path.read_bytes()).hexdigest()
        (folder / "guide.json").write_text(json.dumps(about))
    return None


def fuzz_guides(saved: Path, task: Any, place: Path, number: int, seed: int) -> dict[str, int]:
    """Damages a guide's folder again and again: a `GuideError`, or equal weights."""
    good, counts = ap.load(saved, task=task).hash, {"refused": 0, "the same": 0}
    for i in range(number):
        rng, folder = np.random.default_rng((seed, i)), place / "guide"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved, folder)
        damage_guide(folder, rng)
        trust = {"task": task} if rng.random() < 0.7 else {}
        guide = _attempt(partial(ap.load, folder, **trust), GuideError, f"guide {i}", seed)
        counts["refused" if guide is None else "the same"] += 1
        assert guide is None or guide.hash == good, f"guide {i} of seed {seed}: other weights"
    return counts


def fuzz_states(guide: Any, saved: Path, place: Path, number: int, seed: int) -> dict[str, int]:
    """Damages a state: always refused, but where nothing changed."""
    content, counts = saved.read_bytes(), {"refused": 0, "the same": 0}
    for i in range(number):
        rng, path = np.random.default_rng((seed, i, 1)), place / "state"
        changed = damage(content, rng)
        path.write_bytes(changed)
        state = _attempt(partial(guide.load_state, path), GuideError, f"state {i}", seed)
        counts["refused" if state is None else "the same"] += 1
        assert state is None or changed == content, f"state {i} of seed {seed}: taken"
    return counts


def fuzz_tables(saved: Path, place: Path, number: int, seed: int) -> dict[str, int]:
    """Damages a table: refused by both ways of reading it, or read as the same by both."""
    content, counts = saved.read_bytes(), {"refused": 0, "read": 0}
    for i in range(number):
        rng, path = np.random.default_rng((seed, i, 2)), place / saved.name
        path.write_bytes(damage(content, rng))
        what = f"{saved.suffix} {i}"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*not UTF-8", DesignWarning)
            whole, stream = (
                _attempt(partial(read, path), DataError, what, seed)
                for read in (read_table, _streamed)
            )
        counts["refused" if stream is None else "read"] += 1
        if saved.suffix == ".csv":
            alike = (whole is None) == (stream is None)
            assert alike, f"{what} of seed {seed}: one way reads it, the other refuses"
            if whole is not None and len(whole):
                _same_table(whole, stream, f"{what} of seed {seed}")
    return counts


def _streamed(path: Path) -> pd.DataFrame | None:
    try:
        return pd.concat(list(ap.batches(path, 7, shuffle=None)), ignore_index=True)
    except DataError as error:
        if "the source has no rows" in str(error):
            return read_table(path)
        raise


def _same_table(one: pd.DataFrame, two: pd.DataFrame, what: str) -> None:
    assert list(one.columns) == list(two.columns), what
    for name in one.columns:
        assert list(map(str, one[name])) == list(map(str, two[name])), f"{what}, column {name!r}"


def _attempt(read: Callable[[], Any], error: type[Exception], what: str, seed: int) -> Any:
    """What reading gives; None where it is refused as it should be."""
    begin = time.process_time()
    try:
        with limit():
            return read()
    except error:
        return None
    except BaseException as wrong:
        spent = time.process_time() - begin
        raise AssertionError(
            f"{what} of seed {seed}: {type(wrong).__name__} after {spent:.1f} s: {wrong}"
        ) from wrong
