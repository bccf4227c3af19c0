"""Reads a guide from its folder."""

from dataclasses import fields, replace
from pathlib import Path

import equinox as eqx
import jax
import jax.random as jr

from amortppl.errors import GuideError, ModelError
from amortppl.guide.guide import Guide
from amortppl.guide.model_check import expect_same_model
from amortppl.guide.model_source import find_method, find_task
from amortppl.guide.storage import FORMAT, STORED_ROWS, read_json, refuse_revision
from amortppl.runtime.files import unpack
from amortppl.task.abstract import AbstractTask
from amortppl.training.ranges import Ranges
from amortppl.training.record import Record
from amortppl.trust.misspecification import Familiarity


def load(path: str | Path, task: AbstractTask | None = None) -> Guide:
    """Reads a guide back.

    Args:
        path: its folder.
        task: the task it belongs to; needed only when its model cannot be found by name.

    Raises:
        GuideError: the folder is incomplete, from a newer version, its model is not found, or the
            model or the method's revision is not the one it was trained with.
    """
    path = Path(path)
    about, certificate = (read_json(path, n) for n in ("guide.json", "certificate.json"))
    if about.get("format", 0) > FORMAT:
        raise GuideError(
            f"{path}: written by amortppl {about.get('amortppl')} in a newer format "
            f"({about['format']} > "
            f"{FORMAT}); upgrade amortppl"
        )
    try:
        spec = find_method(path, about["method"])
        found = task or find_task(path, about)
        expect_same_model(path, about["task"], found)
        built = eqx.filter_eval_shape(spec.build, found, jr.key(0))
        refuse_revision(path, about, built)
        dynamic, static = eqx.partition(built, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
        rows = {
            n: jax.ShapeDtypeStruct((STORED_ROWS, *s[1:]), d)
            for n, (s, d) in about["inputs"].items()
        }
        arrays, _ = unpack(path / "weights.safetensors", {"method": dynamic, "inputs": rows})
        record = Record(**{f.name: certificate["training"][f.name] for f in fields(Record)})
        ranges = Ranges(*(certificate["ranges"][n] for n in ("rows", "low", "high")))
        ranges = replace(ranges, rows=tuple(ranges.rows))
        known = Familiarity(**certificate["familiarity"]) if "familiarity" in certificate else None
        return Guide(
            eqx.combine(arrays["method"], static), spec, record, about["seed"], ranges, known
        )
    except ModelError as error:
        raise GuideError(
            f"{path}: its model cannot be read as it was ({error}); pass the task: load(path, "
            f"task=...)"
        ) from error
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise GuideError(
            f"{path}: not a complete guide ({error}); was the copy cut short, or was it trained by "
            f"another version? "
            "Copy or train it again"
        ) from error
