"""Reads a guide from its folder. Nothing that the folder names is run unless it is trusted."""

from collections.abc import Sequence
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from amortppl.errors import GuideError, ModelError
from amortppl.guide.guide import Guide
from amortppl.guide.model_check import expect_same_model
from amortppl.guide.model_source import find_method, find_task
from amortppl.guide.own_guides import fingerprint_files, is_own
from amortppl.guide.schema import CERTIFICATE, GUIDE, expect_sizes
from amortppl.guide.storage import (
    FORMAT,
    STORED_ROWS,
    parse_json,
    read_files,
    refuse_revision,
)
from amortppl.guide.trusted_code import TrustedCode
from amortppl.method import Spec
from amortppl.runtime.compilation import without_collection
from amortppl.runtime.files import unpack_bytes
from amortppl.runtime.program_cache import use_program_cache
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.training.ranges import Ranges
from amortppl.training.record import Record
from amortppl.trust.misspecification import Familiarity


def load(
    path: str | Path,
    task: AbstractTask | None = None,
    trust_code: Sequence[str | Path] = (),
) -> Guide:
    """Reads a guide back.

    Runs nothing that the folder names but methods and models of this package, files and modules
    that `trust_code` lists, and what guides were trained with that you saved on this machine.

    Args:
        path: its folder.
        task: the task it belongs to; its model is then not looked for.
        trust_code: paths of .py files, or names of modules, that may be run to find its model or
            its method. A file of that name is run from the path given here, whatever the folder
            says.

    Raises:
        GuideError: the folder is incomplete, damaged, from a newer version, its model is not found
            or not trusted, or the model, the method's revision or the weights are not those it was
            saved with.

    Example:
        >>> import amortppl as ap, tempfile
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), "laplace", progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = ap.load(guide.save(f"{folder}/guide"))
        >>> again.hash == guide.hash
        True
        >>> guide = ap.load("guides/theirs", task=task)  # doctest: +SKIP
        >>> guide = ap.load("guides/theirs", trust_code=["models/dose.py"])  # doctest: +SKIP
    """
    use_program_cache()
    path = Path(path)
    contents = read_files(path)
    about = parse_json(path, "guide.json", contents)
    if isinstance(newer := about.get("format"), int) and newer > FORMAT:
        raise GuideError(
            f"{path}: written by amortppl {about.get('amortppl')} in a newer format "
            f"({newer} > {FORMAT}); upgrade amortppl"
        )
    certificate = parse_json(path, "certificate.json", contents)
    GUIDE(about, f"{path}/guide.json")
    CERTIFICATE(certificate, f"{path}/certificate.json")
    _expect_written_together(path, about, contents)
    trusted = TrustedCode(path, trust_code, is_own(fingerprint_files(contents)))
    try:
        return _read(path, about, certificate, contents["weights.safetensors"], task, trusted)
    except GuideError:
        raise
    except ModelError as error:
        raise GuideError(
            f"{path}: its model cannot be read as it was ({error}); pass the task: load(path, "
            f"task=...)"
        ) from error
    except (LookupError, ValueError, OSError, TypeError, ArithmeticError) as error:
        raise GuideError(
            f"{path}: not a complete guide ({error}); was the copy cut short, or was it trained by "
            f"another version? "
            "Copy or train it again"
        ) from error


def _read(
    path: Path,
    about: dict[str, Any],
    certificate: dict[str, Any],
    weights: bytes,
    task: AbstractTask | None,
    trusted: TrustedCode,
) -> Guide:
    stored, _ = unpack_bytes(path / "weights.safetensors", weights, None)
    spec = find_method(path, about["method"], trusted)
    task_here = task or find_task(path, about, trusted, stored)
    expect_same_model(path, about["task"], task_here)
    sizes = {n: int(np.prod(shape)) for n, shape in task_here.row_shapes.items()}
    expect_sizes(certificate, sizes, f"{path}/certificate.json")
    built = _build(path, spec, task_here)
    refuse_revision(path, about, built)
    dynamic, static = eqx.partition(built, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    rows = {
        n: jax.ShapeDtypeStruct((STORED_ROWS, *s[1:]), d) for n, (s, d) in about["inputs"].items()
    }
    like = {"method": dynamic, "inputs": rows}
    arrays, _ = unpack_bytes(path / "weights.safetensors", weights, like)
    record = Record(**{f.name: certificate["training"][f.name] for f in fields(Record)})
    ranges = Ranges(*(certificate["ranges"][n] for n in ("rows", "low", "high")))
    ranges = replace(ranges, rows=tuple(ranges.rows))
    familiarity = (
        Familiarity(**certificate["familiarity"]) if "familiarity" in certificate else None
    )
    method = eqx.combine(arrays["method"], static)
    guide = Guide(method, spec, record, about["seed"], ranges, familiarity)
    _expect_same_weights(path, about, guide)
    return guide


def _build(path: Path, spec: Spec, task: AbstractTask) -> Any:
    """The method with the shapes of its arrays in their place; options that cannot be used are one
    error."""
    try:
        with without_collection():
            return eqx.filter_eval_shape(spec.build, task, seed_key(0))
    except Exception as error:
        raise GuideError(
            f"{path}: its method cannot be built with the options in guide.json "
            f"({type(error).__name__}: {error})"
        ) from error


def _expect_written_together(path: Path, about: dict[str, Any], contents: dict[str, bytes]) -> None:
    """Refuses a certificate of another guide, and another precision than it was trained in."""
    hashed = sha256(contents["certificate.json"]).hexdigest()
    if about.get("certificate", hashed) != hashed:
        raise GuideError(
            f"{path}: certificate.json is damaged or of another guide (its hash is not the one "
            f"in guide.json); copy or train it again"
        )
    was, now = about.get("x64", False), bool(jax.config.jax_enable_x64)
    if was != now:
        raise GuideError(
            f"{path}: trained with jax_enable_x64={was}, and here it is {now}; set "
            f"jax.config.update('jax_enable_x64', {was}) before anything else, or train again"
        )


def _expect_same_weights(path: Path, about: dict[str, Any], guide: Guide) -> None:
    """Refuses weights that are not those of guide.json, or not numbers."""
    options = about["method"]["options"]
    now = vars(guide.spec)
    # options that a later version added have no part in the hash
    then = {n: v for n, v in now.items() if n in options}
    if guide.hash_with(then) != about["hash"]:
        raise GuideError(
            f"{path}: weights.safetensors, the method's options or the model are not those that "
            f"guide.json was written with (hash {guide.hash_with(then)}, expected "
            f"{about['hash']}); copy or train it again"
        )
    for leaf in jax.tree.leaves(eqx.filter(guide.method, eqx.is_inexact_array)):
        if np.isnan(np.asarray(leaf)).any():
            raise GuideError(f"{path}: its weights hold NaN; train it again")
