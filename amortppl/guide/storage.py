"""Guides on disk: a folder of guide.json, weights.safetensors and certificate.json. No pickle, no
code in it is run.
"""

import json
import shutil
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any

import equinox as eqx
import jax.random as jr

from amortppl.errors import GuideError
from amortppl.guide.model_check import check_values
from amortppl.guide.model_source import describe_source, file_of
from amortppl.runtime.files import pack, write
from amortppl.training.trained import TrainedMethod
from amortppl.trust.misspecification import Familiarity

FORMAT = 1
"""Raised when older readers could not understand a folder."""

STORED_ROWS = 2048
"""Rows of each input kept, so that a task can simulate again where its inputs are not
importable.
"""


def save(guide: TrainedMethod, familiarity: Familiarity, path: str | Path) -> Path:
    """Writes a guide's folder under a temporary name, then moves it into place.

    Raises:
        OSError: the place cannot be written; an older guide there is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if (
        path.exists()
        and not (path / "guide.json").exists()
        and (path.is_file() or any(path.iterdir()))
    ):
        raise GuideError(f"save: {path} exists and is not a guide; name another folder")
    temporary = path.with_name(
        f".{path.name}.{token_hex(4)}"
    )  # not mkdtemp, whose folders only their owner may read
    temporary.mkdir()
    try:
        rows = guide.task.input_rows(jr.key(guide.seed), STORED_ROWS)
        arrays = {"method": eqx.filter(guide.method, eqx.is_array), "inputs": rows}
        write(temporary / "weights.safetensors", pack(arrays, {}))
        write(temporary / "guide.json", json.dumps(_about(guide), indent=1).encode())
        write(
            temporary / "certificate.json",
            json.dumps(_certificate(guide, familiarity), indent=1).encode(),
        )
        _replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path


def _replace(temporary: Path, path: Path) -> None:
    if not path.exists():
        temporary.rename(path)
        return
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    path.rename(old / "guide")
    try:
        temporary.rename(path)
    except OSError:
        (old / "guide").rename(path)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _about(guide: TrainedMethod) -> dict[str, Any]:
    kind = type(guide.spec)
    return {
        "format": FORMAT,
        "amortppl": version("amortppl"),
        "jax": version("jax"),
        "numpyro": version("numpyro"),
        "method": {
            "module": kind.__module__,
            "file": file_of(kind),
            "options": asdict(guide.spec),
            "revision": guide.method.revision,
        },
        "task": {
            **describe_source(guide.task),
            "name": guide.task.name,
            "rows": guide.task.rows,
            "episodes": guide.task.supports is not None,
            "fingerprint": guide.task.fingerprint,
            "says": {
                n: [float(f"{v:.6g}") for v in values]
                for n, values in check_values(guide.task).items()
            },
        },
        "dims": guide.task.dims,
        "coords": {
            k: [v if isinstance(v, int | float | str) else str(v) for v in c]
            for k, c in guide.task.coords.items()
        },
        "observed": guide.task.by_name,
        "inputs": {
            n: [list(s.shape), str(s.dtype)]
            for n, s in guide.task.rows_like.items()
            if n in guide.task.sources
        },
        "seed": guide.seed,
        "hash": guide.hash,
    }


def _certificate(guide: TrainedMethod, familiarity: Familiarity) -> dict[str, Any]:
    return {
        "ranges": guide.ranges.json(),
        "familiarity": familiarity.json(),
        "training": asdict(guide.record),
    }


def refuse_revision(path: Path, about: dict[str, Any], method: Any) -> None:
    was, now = about["method"].get("revision", 0), method.revision
    if was != now:
        raise GuideError(
            f"{path}: trained with revision {was} of the method in {about['method']['module']}, "
            f"here at {now}: its "
            "weights would give another answer than the one that was checked. Train it again, or "
            "use the amortppl it "
            f"was trained with ({about.get('amortppl')})"
        )


def read_json(path: Path, name: str) -> dict[str, Any]:
    if not path.is_dir():
        raise GuideError(
            f"{path}: expected a guide's folder, found {'a file' if path.exists() else 'nothing'}"
        )
    try:
        found = json.loads((path / name).read_text())
    except FileNotFoundError as error:
        raise GuideError(
            f"{path}: {name} is missing; a guide is a folder of guide.json, weights.safetensors "
            f"and certificate.json"
        ) from error
    except json.JSONDecodeError as error:
        raise GuideError(
            f"{path}/{name}: cut short or damaged ({error}); copy or train it again"
        ) from error
    if not isinstance(found, dict):
        raise GuideError(
            f"{path}/{name}: expected a JSON object, found {type(found).__name__}; copy or train "
            f"it again"
        )
    return found
