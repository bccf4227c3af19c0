"""Guides on disk: a folder of guide.json, weights.safetensors and certificate.json. No pickle.

Loading runs no code of the folder: the model is named by import path or by the file it was
written in; its sites are checked against the fingerprint, its densities at three points against those kept.
"""

import importlib
import importlib.util
import inspect
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from amortppl import catalogue
from amortppl.checkpoint import pack, unpack, write
from amortppl.errors import GuideError, ModelError
from amortppl.ranges import Ranges
from amortppl.task import Task
from amortppl.trust.familiarity import Familiarity

if TYPE_CHECKING:
    from amortppl.guide import Guide

FORMAT = 1
"""Raised when older readers could not understand a folder."""

STORED_ROWS = 2048
"""Rows of each input kept, so that a task can simulate again where its inputs are not importable."""


def fingerprint(guide: "Guide") -> str:
    """A hash of a guide's options and weights."""
    digest = sha256(json.dumps([guide.task.fingerprint, asdict(guide.spec)]).encode())
    for leaf in jax.tree.leaves(eqx.filter(guide.method, eqx.is_array)):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def _said(task: Task) -> dict[str, np.ndarray]:
    """What a model says where its latents' unconstrained vector is -1, 0 and 1 throughout: three numbers each of its
    log prior, of the log likelihood of rows of ones, and of every latent's mean entry. None without latents.

    Sites, shapes and families make the fingerprint; this tells apart models whose priors, bounds or noise differ.
    """
    found = _says(task) if task.latents.size else {}
    return {n: np.clip(np.nan_to_num(np.asarray(v, np.float64)), -1e30, 1e30) for n, v in found.items()}


@eqx.filter_jit
def _says(task: Task) -> dict[str, jax.Array]:
    ones = {n: jnp.ones(s.shape, s.dtype) for n, s in task.rows_like.items()}

    def at(vector: jax.Array) -> dict[str, jax.Array]:
        latents = {n: jnp.mean(v) for n, v in task.sites_at(vector, ones)[0].items()}
        if not task.has_density:
            return latents
        prior, rows = task.log_densities(vector, ones)
        return {"log prior": prior, "log likelihood": jnp.sum(rows), **latents}

    return jax.vmap(at)(jnp.array([-1.0, 0.0, 1.0])[:, None] * jnp.ones(task.latents.size))


def save(guide: "Guide", path: str | Path) -> Path:
    """Writes a guide's folder under a temporary name, then moves it into place.

    Raises:
        OSError: the place cannot be written; an older guide there is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not (path / "guide.json").exists() and (path.is_file() or any(path.iterdir())):
        raise GuideError(f"save: {path} exists and is not a guide; name another folder")
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")  # not mkdtemp, whose folders only their owner may read
    temporary.mkdir()
    try:
        rows = guide.task.input_rows(jr.key(guide.seed), STORED_ROWS)
        arrays = {"method": eqx.filter(guide.method, eqx.is_array), "inputs": rows}
        write(temporary / "weights.safetensors", pack(arrays, {}))
        write(temporary / "guide.json", json.dumps(_about(guide), indent=1).encode())
        write(temporary / "certificate.json", json.dumps(_certificate(guide), indent=1).encode())
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


def _about(guide: "Guide") -> dict[str, Any]:
    kind = type(guide.spec)
    return {
        "format": FORMAT,
        "amortppl": version("amortppl"),
        "jax": version("jax"),
        "numpyro": version("numpyro"),
        "method": {"module": kind.__module__, "file": _file_of(kind), "options": asdict(guide.spec)},
        "task": {
            **_where(guide.task),
            "name": guide.task.name,
            "rows": guide.task.rows,
            "episodes": guide.task.supports is not None,
            "fingerprint": guide.task.fingerprint,
            "says": {n: [float(f"{v:.6g}") for v in values] for n, values in _said(guide.task).items()},
        },
        "dims": guide.task.dims,
        "coords": {
            k: [v if isinstance(v, int | float | str) else str(v) for v in c] for k, c in guide.task.coords.items()
        },
        "observed": guide.task.by_name,
        "inputs": {
            n: [list(s.shape), str(s.dtype)] for n, s in guide.task.rows_like.items() if n in guide.task.sources
        },
        "seed": guide.seed,
        "hash": fingerprint(guide),
    }


def _where(task: Task) -> dict[str, str]:
    model = inspect.unwrap(task.model)
    name = getattr(model, "__qualname__", "")
    return {"module": getattr(model, "__module__", ""), "model": name, "file": _file_of(model)}


def _file_of(thing: Any) -> str:
    try:
        return str(Path(inspect.getsourcefile(thing) or "").resolve())
    except TypeError:
        return ""


def _certificate(guide: "Guide") -> dict[str, Any]:
    return {
        "ranges": guide.ranges.json(),
        "familiarity": guide.familiarity.json(),
        "training": asdict(guide.record),
    }


def load(path: str | Path, task: Task | None = None) -> "Guide":
    """Reads a guide back.

    Args:
        path: its folder.
        task: the task it belongs to; needed only when its model cannot be found by name.

    Raises:
        GuideError: the folder is incomplete, from a newer version, its model is not found, or
            the model is not the one it was trained for.
    """
    threading.Thread(target=importlib.import_module, args=("arviz_stats.base",)).start()  # while JAX compiles
    from amortppl.guide import Guide
    from amortppl.record import Record

    path = Path(path)
    about, certificate = (_json(path, n) for n in ("guide.json", "certificate.json"))
    if about.get("format", 0) > FORMAT:
        raise GuideError(
            f"{path}: written by amortppl {about.get('amortppl')} in a newer format ({about['format']} > "
            f"{FORMAT}); upgrade amortppl"
        )
    try:
        spec = _spec(path, about["method"])
        found = task or _task(path, about)
        if found.fingerprint != about["task"]["fingerprint"]:
            raise GuideError(
                f"{path}: trained for the model {about['task']['name']!r} with other sites (fingerprint "
                f"{about['task']['fingerprint']}, "
                f"here {found.fingerprint}: arguments {found.arguments}, latents "
                f"{found.latents.unconstrained}). The model has "
                "changed since, or it is another one; train again"
            )
        _same(path, about["task"], found)
        built = eqx.filter_eval_shape(spec.build, found, jr.key(0))
        dynamic, static = eqx.partition(built, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
        rows = {n: jax.ShapeDtypeStruct((STORED_ROWS, *s[1:]), d) for n, (s, d) in about["inputs"].items()}
        arrays, _ = unpack(path / "weights.safetensors", {"method": dynamic, "inputs": rows})
        record = Record(**{f.name: certificate["training"][f.name] for f in fields(Record)})
        ranges = Ranges(*(certificate["ranges"][n] for n in ("rows", "low", "high")))
        ranges = replace(ranges, rows=tuple(ranges.rows))
        known = Familiarity(**certificate["familiarity"]) if "familiarity" in certificate else None
        return Guide(eqx.combine(arrays["method"], static), spec, record, about["seed"], ranges, known)
    except ModelError as error:
        raise GuideError(
            f"{path}: its model cannot be read as it was ({error}); pass the task: load(path, task=...)"
        ) from error
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise GuideError(
            f"{path}: not a complete guide ({error}); was the copy cut short? Copy or train it again"
        ) from error


def _same(path: Path, about: Mapping[str, Any], task: Task) -> None:
    """Refuses a model that says other than the one the guide was trained for. Guides from before this was kept pass."""
    was, now = about.get("says", {}), _said(task)
    other = [n for n, v in was.items() if not np.allclose(v, now[n], rtol=1e-3, atol=1e-3)]
    if other:
        each = "; ".join(f"{n} {was[n]} then, {np.round(now[n], 4).tolist()} now" for n in other[:3])
        raise GuideError(
            f"{path}: trained for the model {about['name']!r} with another prior, other bounds or another likelihood "
            f"({each}; where the latents' unconstrained vector is -1, 0 and 1). The model has changed since, or it is "
            "another one; train again"
        )


def _json(path: Path, name: str) -> dict[str, Any]:
    if not path.is_dir():
        raise GuideError(f"{path}: expected a guide's folder, found {'a file' if path.exists() else 'nothing'}")
    try:
        found = json.loads((path / name).read_text())
    except FileNotFoundError as error:
        raise GuideError(
            f"{path}: {name} is missing; a guide is a folder of guide.json, weights.safetensors and certificate.json"
        ) from error
    except json.JSONDecodeError as error:
        raise GuideError(f"{path}/{name}: cut short or damaged ({error}); copy or train it again") from error
    if not isinstance(found, dict):
        raise GuideError(f"{path}/{name}: expected a JSON object, found {type(found).__name__}; copy or train it again")
    return found


def _spec(path: Path, about: dict[str, Any]) -> Any:
    where = about["module"]
    module = _from_file(path, about["file"]) if where.startswith("amortppl_user_") else _by_name(path, where)
    if module is None:
        raise GuideError(f"{path}: its method was written in {about['file'] or where} and is not found there")
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in about["options"].items()}
    try:
        return module.METHOD(**options)
    except TypeError as error:
        raise GuideError(f"{path}: its method's options are not those of {where} here ({error})") from error


def _task(path: Path, about: dict[str, Any]) -> Task:
    """The task by the place its model was written in; inputs from the stored rows where need be."""
    where = about["task"]
    module = _module(path, where)
    target = getattr(module, where["model"], None) if module else None
    if target is None:
        raise GuideError(
            f"{path}: its model {where['model']!r} was written in {where['file'] or where['module']} and is not "
            f"found there; "
            "pass the task: load(path, task=...)"
        )
    if isinstance(target, Task):
        return target
    rows = tuple(where["rows"]) if where["rows"] else None
    settings = getattr(module, "TASK", None)
    if where.get("episodes"):
        if settings is None or not catalogue.has_episodes(module):
            raise GuideError(
                f"{path}: trained on episodes of data, drawn by {where['model']!r} of "
                f"{where['file'] or where['module']}, which does not say what Task.from_episodes was given; "
                "pass the task: load(path, task=...)"
            )
        return Task.from_episodes(target, **{**settings, "name": where["name"], "rows": rows})
    if settings is not None:
        task = Task(target, **{**settings, "name": where["name"], "rows": rows})
        if _row_shapes(task) == _row_shapes(about):
            return task
    stored, _ = unpack(path / "weights.safetensors", None)
    inputs = {n: stored[f"['inputs']['{n}']"] for n in about["inputs"]}
    inputs = {n: v[0] for n, v in inputs.items()} if rows is None else inputs
    return Task(
        target, inputs, rows, observed=about["observed"], dims=about["dims"], coords=about["coords"], name=where["name"]
    )


def _row_shapes(of: Task | dict[str, Any]) -> dict[str, list[int]]:
    """Shapes of one row of every input: those of the file's own task may have been replaced."""
    if isinstance(of, Task):
        return {n: list(of.rows_like[n].shape[1:]) for n in of.inputs}
    return {n: list(shape[1:]) for n, (shape, _) in of["inputs"].items()}


def _module(path: Path, where: dict[str, str]) -> Any:
    main = sys.modules.get("__main__")
    if where["module"] == "__main__" or where["module"].startswith("amortppl_user_"):
        if (
            main is not None
            and getattr(main, "__file__", None)
            and Path(main.__file__).resolve() == Path(where["file"])
        ):
            return main
        return _from_file(path, where["file"])
    return _by_name(path, where["module"])


def _from_file(path: Path, file: str) -> Any:
    _refuse_own(path, Path(file))
    return catalogue.from_file(file) if Path(file).is_file() else None


def _by_name(path: Path, name: str) -> Any:
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is not None:
        places = [Path(p, *rest) for p in spec.submodule_search_locations or []]
        for place in [*places, *([Path(spec.origin)] if spec.origin else [])]:
            _refuse_own(path, place)
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _refuse_own(path: Path, file: Path) -> None:
    if path.resolve() in file.resolve().parents:
        raise GuideError(
            f"{path}: its code lies inside the guide's own folder; running it would run a stranger's code. Pass "
            f"task=..."
        )
