"""Loading runs nothing that a stranger names, and takes no weights but those that were saved."""

import json
import os
import shutil
import sys
from hashlib import sha256

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save

import amortppl as ap
from amortppl.errors import GuideError
from amortppl.guide import own_guides
from amortppl.runtime import files, json_kinds

PAYLOAD = "raise SystemExit('ran')\n"

MODEL = """
import numpyro
import numpyro.distributions as dist

def line_model(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    numpyro.deterministic("w_sum", w.sum())
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ w, 1), obs=y)
"""


@pytest.fixture(scope="module")
def saved(line_guide, tmp_path_factory):
    return line_guide.save(tmp_path_factory.mktemp("guides") / "line")


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "line")


def edit(folder, **parts):
    """Changes fields of guide.json: a dict changes fields of a field."""
    about = json.loads((folder / "guide.json").read_text())
    for name, value in parts.items():
        about[name] = about[name] | value if isinstance(value, dict) else value
    (folder / "guide.json").write_text(json.dumps(about))


def refused(folder, words, **options):
    with pytest.raises(GuideError) as caught:
        ap.load(folder, **options)
    assert words in str(caught.value) and str(folder) in str(caught.value), str(caught.value)


def test_ones_own_guide_loads_wherever_it_is_moved(copy, line_guide):
    assert ap.load(copy).hash == line_guide.hash


@pytest.mark.parametrize("part", ["task", "method"])
@pytest.mark.parametrize(
    ("module", "file"),
    [
        ("amortppl_user_payload", "{parent}/payload.py"),
        ("amortppl_user_payload", "{folder}/payload.py"),
        ("payload", "payload.py"),
        ("line.payload", ""),
        ("unittest.__main__", ""),
        ("__main__", ""),
        ("os", ""),
        ("amortppl.inference.__main__", ""),
        ("amortppl.models.../payload", ""),
        ("amortppl.cli.demo", ""),
    ],
)
def test_nothing_that_a_stranger_names_is_run(copy, line_task, monkeypatch, part, module, file):
    for place in (copy, copy.parent):
        (place / "payload.py").write_text(PAYLOAD)
        monkeypatch.syspath_prepend(place)
    monkeypatch.chdir(copy.parent)
    before = set(sys.modules)
    names = {"module": module, "file": file.format(parent=copy.parent, folder=copy)}
    edit(copy, **{part: names | ({"model": "_exit"} if part == "task" else {})})
    refused(copy, "not run because this guide was not saved by you")
    if part == "task":
        assert ap.load(copy, task=line_task).task is line_task
    assert not {m for m in set(sys.modules) - before if "payload" in m or "__main__" in m}


def test_a_strangers_copy_needs_the_model_or_trust_in_it(copy, line_task, capfd, monkeypatch):
    monkeypatch.setattr(own_guides, "user_state_path", lambda *a, **k: copy.parent / "state")
    refused(copy, "pass the task")
    (copy.parent / "conjugate.py").write_text(MODEL)
    trusted = copy.parent / "conjugate.py"
    loaded = ap.load(copy, trust_code=[trusted])
    assert loaded.task.model.__code__.co_filename == str(trusted)
    assert f"trusted file {trusted}" in capfd.readouterr().err
    assert ap.load(copy, trust_code=["conjugate"]).task.name == "line_model"
    assert "trusted module conjugate" in capfd.readouterr().err
    refused(copy, "pass the task", trust_code=["json"])
    for odd, words in ((["none.py"], "no file at"), (["a b"], "names of modules")):
        with pytest.raises(GuideError, match=words):
            ap.load(copy, trust_code=odd)


def test_the_state_folder_names_ones_own_guides_alone(copy, tmp_path, monkeypatch):
    monkeypatch.setattr(own_guides, "user_state_path", lambda *a, **k: tmp_path / "state")
    contents = {n: (copy / n).read_bytes() for n in own_guides.FILES}
    hashed = own_guides.fingerprint_files(contents)
    assert not own_guides.is_own(hashed)
    own_guides.note(hashed, copy)
    assert own_guides.is_own(hashed)
    evil = contents["guide.json"].replace(b"line_model", b"evil_model")
    changed = contents | {"guide.json": evil}
    assert not own_guides.is_own(own_guides.fingerprint_files(changed))
    (tmp_path / "state" / "guides" / hashed).chmod(0o666)
    assert not own_guides.is_own(hashed), "anybody may have written it"
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(own_guides, "user_state_path", lambda *a, **k: tmp_path / "file")
    with pytest.warns(UserWarning, match="not noted as a guide of your own"):
        own_guides.note(hashed, copy)


@pytest.mark.parametrize(
    ("part", "field", "value", "words"),
    [
        ("method", "options", {"newton": 10**9}, "from a guide"),
        ("method", "options", {"newton": -1}, "from 0 to"),
        ("method", "options", {"width": 1e30}, "as 32 is"),
        ("method", "options", {"density": 3}, "options"),
        ("method", "options", [], "JSON object"),
        ("method", "module", 3, "string"),
        ("task", "rows", [5, 1], "fewest"),
        ("task", "rows", [0, 1 << 60], "whole number"),
        ("task", "says", {"w": ["a"] * 3}, "finite number"),
        (None, "seed", 1 << 70, "whole number"),
        (None, "inputs", {"x": [[1, 2], "object"]}, "one of"),
        (None, "inputs", {"x": [[1, 1 << 40], "float32"]}, "whole number"),
        (None, "coords", {"covariate": [[]]}, "finite number"),
        (None, "format", "1", "whole number"),
        (None, "hash", None, "string"),
        (None, "x64", True, "jax_enable_x64=True"),
    ],
)
def test_fields_are_checked_before_use(copy, line_task, part, field, value, words):
    about = json.loads((copy / "guide.json").read_text())
    if isinstance(value, dict) and field == "options":
        value = about["method"]["options"] | value
    edit(copy, **({part: {field: value}} if part else {field: value}))
    with pytest.raises(GuideError) as caught:
        ap.load(copy, task=line_task)
    assert words.replace("from a guide", "guide from elsewhere") in str(caught.value)


@pytest.mark.parametrize("name", ["guide.json", "certificate.json"])
@pytest.mark.parametrize(
    "content", [b"[" * 200_000, b'{"a":' * 200_000, b"\xff\xfe{}", b"9" * 5000, b'{"format": NaN}']
)
def test_json_of_another_kind_is_one_error(copy, name, content):
    (copy / name).write_bytes(content)
    refused(copy, str(copy))


@pytest.mark.parametrize("name", own_guides.FILES)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_plain_files_are_read(copy, name, kind):
    (copy / name).unlink()
    make = {"pipe": os.mkfifo, "device": lambda p: p.symlink_to("/dev/zero"), "folder": os.mkdir}
    make[kind](copy / name)
    refused(copy, f"found a {kind}")


def spoil(folder, change):
    """Changes the arrays of a guide and writes them with a digest that fits."""
    arrays, _ = files.unpack(folder / "weights.safetensors", None)
    name = max((n for n in arrays if "method" in n), key=lambda n: arrays[n].size)
    arrays[name] = change(arrays[name])
    told = {"about": "{}", files.DIGEST: files._digest(arrays, "{}")}
    (folder / "weights.safetensors").write_bytes(save(arrays, metadata=told))


@pytest.mark.parametrize("change", [lambda a: a + 1e-7, lambda a: a * np.nan, lambda a: -a])
def test_other_weights_are_refused(copy, line_task, change):
    spoil(copy, lambda a: change(a).astype(a.dtype))
    refused(copy, "not those that guide.json was written with", task=line_task)


def test_any_changed_byte_of_the_weights_is_refused(copy, line_task):
    """A hundred places over the file, one bit each."""
    content = bytearray((copy / "weights.safetensors").read_bytes())
    for place in np.linspace(0, len(content) - 1, 100).astype(int):
        changed = bytearray(content)
        changed[place] ^= 1 << int(place) % 8
        (copy / "weights.safetensors").write_bytes(changed)
        with pytest.raises(GuideError):
            ap.load(copy, task=line_task)


def test_nan_weights_with_a_hash_that_fits_are_refused(copy, line_task, line_guide):
    spoiled = jax.tree.map(
        lambda a: a * jnp.nan if eqx.is_inexact_array(a) else a, line_guide.method
    )
    other = ap.Guide(spoiled, line_guide.spec, line_guide.record, 0, line_guide.ranges)
    spoil(copy, lambda a: a)
    arrays = {"method": eqx.filter(spoiled, eqx.is_array)}
    rows, _ = files.unpack(copy / "weights.safetensors", None)
    rows = {n[len("['inputs']['") : -2]: v for n, v in rows.items() if n.startswith("['inputs']")}
    (copy / "weights.safetensors").write_bytes(files.pack(arrays | {"inputs": rows}, {}))
    edit(copy, hash=other.hash)
    refused(copy, "hold NaN", task=line_task)


def test_another_certificate_is_refused(copy, line_task):
    text = (copy / "certificate.json").read_bytes()
    changed = json.loads(text)
    changed["ranges"]["high"]["x"] = [9e9, 9e9]
    (copy / "certificate.json").write_text(json.dumps(changed))
    refused(copy, "certificate.json is damaged", task=line_task)
    edit(copy, certificate=sha256((copy / "certificate.json").read_bytes()).hexdigest())
    ap.load(copy, task=line_task)
    changed["ranges"]["high"]["x"] = [9e9]
    (copy / "certificate.json").write_text(json.dumps(changed))
    edit(copy, certificate=sha256((copy / "certificate.json").read_bytes()).hexdigest())
    refused(copy, "ranges.high.x", task=line_task)


def test_a_schema_names_the_place():
    kind = json_kinds.fields({"a": json_kinds.many(json_kinds.whole(0, 3))})
    kind({"a": [1, 2], "later": {}}, "file")
    for value, words in (
        ({}, "file: the field 'a' is missing"),
        ({"a": [1, True]}, "file.a[1]: expected a whole number from 0 to 3, got True"),
        ({"a": [4]}, "file.a[0]"),
    ):
        with pytest.raises(GuideError) as caught:
            kind(value, "file")
        assert words in str(caught.value)
