"""Guides on disk: a folder of guide.json, weights.safetensors and certificate.json. No pickle, no
code in it is run.
"""

import json
import shutil
import tempfile
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any

import equinox as eqx
import jax

from amortppl.errors import GuideError, quoted
from amortppl.guide import own_guides
from amortppl.guide.model_source import describe_groups, describe_order, describe_source, file_of
from amortppl.guide.schema import CERTIFICATE, GUIDE
from amortppl.runtime.files import kind_of, pack, read_plain, write
from amortppl.runtime.numpy_evaluation import construct
from amortppl.runtime.outputs import expect_outside_guides
from amortppl.runtime.seeds import seed_key
from amortppl.task.check_values import check_values
from amortppl.training.trained import TrainedMethod
from amortppl.trust.misspecification import Familiarity

FORMAT = 1
"""Raised when older readers could not understand a folder."""

LARGEST_TEXT = 1 << 26
"""Bytes that a JSON file of a guide may have at most."""

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
    expect_free(path)
    _expect_named(guide)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(
        f".{path.name}.{token_hex(4)}"
    )  # not mkdtemp, whose folders only their owner may read
    temporary.mkdir()
    try:
        draw = lambda key: guide.task.described_rows(key, STORED_ROWS)  # noqa: E731
        rows = construct(draw, seed_key(guide.seed))
        arrays = {"method": eqx.filter(guide.method, eqx.is_array), "inputs": rows}
        contents = {"weights.safetensors": pack(arrays, {}), **_texts(guide, familiarity)}
        for name, content in contents.items():
            write(temporary / name, content)
        _replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    own_guides.note(own_guides.fingerprint_files(contents), path)
    return path


def expect_free(path: Path) -> None:
    """Refuses a place where a guide would replace something else than a guide.

    Raises:
        GuideError: it holds something else, or other files beside an older guide's.
        OSError: it lies inside another guide's folder.
    """
    expect_outside_guides(path)
    if not path.exists():
        return
    if not path.is_dir() or (any(path.iterdir()) and not (path / "guide.json").exists()):
        raise GuideError(f"save: {path} exists and is not a guide; name another folder")
    others = sorted({p.name for p in path.iterdir()} - set(own_guides.FILES))
    if others:
        raise GuideError(
            f"save: {path} is a guide's folder with other files ({quoted(others[:3])}), which "
            f"would be lost; move them, or name another folder"
        )


def _expect_named(guide: TrainedMethod) -> None:
    """Refuses options that are objects: a guide's folder holds no code.

    Raises:
        GuideError: naming the option.
    """
    own = [n for n, v in vars(guide.spec).items() if callable(v)]
    if own:
        raise GuideError(
            f"save: the option {quoted(own)} is code of your own, which a guide's folder does not "
            "hold; give an encoder as 'FILE.py:NAME', or write a method file whose METHOD makes it "
            "the default, and train that by its path"
        )


def _texts(guide: TrainedMethod, familiarity: Familiarity) -> dict[str, bytes]:
    """The two JSON files, of which guide.json holds the other's hash."""
    certificate = json.dumps(_certificate(guide, familiarity), indent=1).encode()
    about = _about(guide) | {"certificate": sha256(certificate).hexdigest()}
    told = json.dumps(about, indent=1).encode()
    GUIDE(json.loads(told), "save: guide.json")  # what is written can be read
    CERTIFICATE(json.loads(certificate), "save: certificate.json")
    return {"guide.json": told, "certificate.json": certificate}


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
            "options": vars(guide.spec),
            "revision": guide.method.revision,
        },
        "task": {
            **describe_source(guide.task),
            **describe_groups(guide.task),
            **describe_order(guide.task),
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
            for n, s in jax.eval_shape(
                lambda k: guide.task.described_rows(k, 1), seed_key(guide.seed)
            ).items()
        },
        "seed": guide.seed,
        "x64": bool(jax.config.jax_enable_x64),
        "hash": guide.hash,
    }


def _certificate(guide: TrainedMethod, familiarity: Familiarity) -> dict[str, Any]:
    return {
        "ranges": guide.ranges.json(),
        "familiarity": familiarity.json(),
        "training": asdict(guide.record),
    }


def refuse_revision(path: Path, about: dict[str, Any], method: Any) -> None:
    """Refuses weights of another revision of the method's code than the one here.

    Raises:
        GuideError: the revisions differ.
    """
    was, now = about["method"].get("revision", 0), method.revision
    if was != now:
        raise GuideError(
            f"{path}: trained with revision {was} of the method in {about['method']['module']}, "
            f"here at {now}: its "
            "weights would give another answer than the one that was checked. Train it again, or "
            "use the amortppl it "
            f"was trained with ({about.get('amortppl')})"
        )


def read_files(path: Path) -> dict[str, bytes]:
    """The three files of a guide's folder.

    Raises:
        GuideError: there is no folder, or one of them is missing, no plain file, or too large.
    """
    try:
        if not path.is_dir():
            came = kind_of(path.stat().st_mode) if path.exists() else "nothing"
            raise GuideError(f"{path}: expected a guide's folder, found {came}")
        return {
            name: read_plain(path / name, *([LARGEST_TEXT] if name.endswith(".json") else []))
            for name in own_guides.FILES
        }
    except FileNotFoundError as error:
        raise GuideError(
            f"{path}: {Path(error.filename).name} is missing; a guide is a folder of guide.json, "
            f"weights.safetensors and certificate.json"
        ) from error
    except (OSError, ValueError) as error:
        raise GuideError(f"{path}: not a guide that can be read ({error})") from error


def parse_json(path: Path, name: str, contents: dict[str, bytes]) -> dict[str, Any]:
    """One of a guide's JSON files.

    Raises:
        GuideError: it is not UTF-8, not JSON, nested too deeply, or no object.
    """
    try:
        parsed = json.loads(contents[name].decode())
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise GuideError(
            f"{path}/{name}: cut short or damaged ({reason}); copy or train it again"
        ) from error
    if not isinstance(parsed, dict):
        raise GuideError(
            f"{path}/{name}: expected a JSON object, found {type(parsed).__name__}; copy or train "
            f"it again"
        )
    return parsed
