"""Guides on disk: exact round trips, clear refusals, and nothing lost by a failed write."""

import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.errors import GuideError
from amortppl.guide import model_check, storage
from amortppl.runtime import files
from amortppl.task.check_values import check_values


@pytest.fixture(scope="module")
def saved(line_guide, tmp_path_factory):
    return line_guide.save(tmp_path_factory.mktemp("guides") / "line")


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "line")


def edit(path, name, **changes):
    about = json.loads((path / name).read_text())
    (path / name).write_text(json.dumps(about | changes))


def test_round_trip_is_exact(line_guide, line_data, saved):
    loaded = ap.load(saved)
    for a, b in zip(
        jax.tree.leaves(line_guide.method), jax.tree.leaves(loaded.method), strict=True
    ):
        if isinstance(a, jax.Array):
            np.testing.assert_array_equal(a, b)
    before, after = (g.infer(line_data, draws=50) for g in (line_guide, loaded))
    np.testing.assert_array_equal(before.posterior["w"], after.posterior["w"])
    assert list(after.posterior["covariate"].values) == ["age", "dose"]
    assert loaded.training() == line_guide.training() and loaded.ranges.rows == (4, 32)
    assert before.attrs["guide_hash"] == after.attrs["guide_hash"]


def test_the_folder(saved):
    assert sorted(p.name for p in saved.iterdir()) == [
        "certificate.json",
        "guide.json",
        "weights.safetensors",
    ]
    about = json.loads((saved / "guide.json").read_text())
    assert about["task"]["model"] == "line_model" and about["format"] == storage.FORMAT
    assert not list(saved.parent.glob(".line*")), "temporary folders are gone"


def test_a_given_task_needs_no_lookup(copy, line_task):
    about = json.loads((copy / "guide.json").read_text())
    edit(copy, "guide.json", task=about["task"] | {"module": "gone", "file": "gone.py"})
    assert ap.load(copy, task=line_task).task is line_task
    with pytest.raises(GuideError, match="pass the task"):
        ap.load(copy)


def test_another_model_is_refused(copy):
    def other(x, y=None):
        w = numpyro.sample("w", dist.Laplace(0, 1).expand([2]).to_event(1))
        with numpyro.plate("obs", x.shape[0]):
            numpyro.sample("y", dist.Normal(x @ w, 1), obs=y)

    with pytest.raises(GuideError, match="fingerprint"):
        ap.load(copy, task=ap.Task(other, {"x": dist.Normal(0, 1).expand([2])}))


def louder(x, y=None):
    """`line_model` with noise of sd 2: the same sites, shapes and families."""
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    numpyro.deterministic("w_sum", w.sum())
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ w, 2), obs=y)


def test_a_model_whose_numbers_changed_is_refused(copy, line_task):
    other = ap.Task(louder, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 32))
    assert other.fingerprint == line_task.fingerprint
    assert ap.load(copy, task=line_task).task is line_task
    with pytest.raises(GuideError, match=r"another likelihood \(log likelihood \[.*train again"):
        ap.load(copy, task=other)
    about = json.loads((copy / "guide.json").read_text())
    edit(copy, "guide.json", task={n: v for n, v in about["task"].items() if n != "says"})
    assert ap.load(copy, task=other).task is other  # written before this was kept


def test_what_a_model_says_tells_its_bounds():
    def bounded(high):
        def model(rows, y=None):
            rate = numpyro.sample("rate", dist.Uniform(0, high))
            with numpyro.plate("row", rows):
                numpyro.sample("y", dist.Normal(rate, 1), obs=y)

        return ap.Task(model, rows=(4, 8))

    np.testing.assert_allclose(check_values(bounded(1))["rate"], [0.268941, 0.5, 0.731059], 1e-5)
    np.testing.assert_allclose(check_values(bounded(2))["rate"], [0.537883, 1.0, 1.462117], 1e-5)
    says = {n: v.tolist() for n, v in check_values(bounded(1)).items()}
    about = {"name": "model", "fingerprint": bounded(1).fingerprint, "says": says}
    model_check.expect_same_model(Path("guide"), about, bounded(1))
    with pytest.raises(
        GuideError, match=r"another prior, other bounds.*rate \[0.268\d*, 0.5, .*train again"
    ):
        model_check.expect_same_model(Path("guide"), about, bounded(2))


@pytest.mark.parametrize("name", ["guide.json", "weights.safetensors", "certificate.json"])
@pytest.mark.parametrize("damage", ["missing", "half", "empty"])
def test_damage_is_named(copy, name, damage):
    content = (copy / name).read_bytes()
    if damage == "missing":
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    with pytest.raises(GuideError) as caught:
        ap.load(copy)
    assert name in str(caught.value) or "not a complete guide" in str(caught.value)
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize("name", ["guide.json", "certificate.json"])
@pytest.mark.parametrize("content", ["[]", "{}", '"guide"', "null"])
def test_json_of_another_kind_is_refused(copy, name, content):
    (copy / name).write_text(content)
    with pytest.raises(GuideError):
        ap.load(copy)


def test_weights_of_another_guide_are_refused(copy, mean_guide, line_task, tmp_path):
    other = mean_guide.save(tmp_path / "mean")
    shutil.copy(other / "weights.safetensors", copy / "weights.safetensors")
    with pytest.raises(GuideError, match="another structure"):
        ap.load(copy, task=line_task)
    with pytest.raises(GuideError, match="not saved by you"):
        ap.load(copy)


def test_a_newer_format_is_refused(copy):
    edit(copy, "guide.json", format=storage.FORMAT + 1)
    with pytest.raises(GuideError, match="newer format"):
        ap.load(copy)


def test_another_revision_of_the_method_is_refused(copy, line_guide, monkeypatch):
    """Its weights would fit and answer otherwise; states and kept answers go by the hash, which
    differs too.
    """
    before, was = line_guide.hash, line_guide.method.revision
    monkeypatch.setattr(type(line_guide.method), "revision", was + 1)
    with pytest.raises(GuideError, match=rf"revision {was} of the method .* here at {was + 1}"):
        ap.load(copy)
    again = ap.Guide(
        line_guide.method, line_guide.spec, line_guide.record, line_guide.seed, line_guide.ranges
    )
    assert again.hash != before


def test_an_unknown_option_is_refused(copy):
    about = json.loads((copy / "guide.json").read_text())
    about["method"]["options"]["wdith"] = 3
    edit(copy, "guide.json", method=about["method"])
    with pytest.raises(GuideError, match="wdith"):
        ap.load(copy)


def test_no_guide_there(tmp_path):
    with pytest.raises(GuideError, match="found nothing"):
        ap.load(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(GuideError, match="found a file"):
        ap.load(tmp_path / "file")


@pytest.mark.slow
def test_a_model_of_the_catalogue_with_another_size(tmp_path):
    """The number of rows is the guide's, not that of the model's file; so is every member of the
    method.
    """
    spec = ap.method("parametric", density="spline_flow", signals=("data",), width=4, hidden=8)
    guide = ap.train(ap.model("linear_regression", rows=8), spec, steps=1, batch=8, progress=False)
    loaded = ap.load(guide.save(tmp_path / "guide"))
    assert loaded.task.rows == (8, 8)
    data = {"x": np.ones((8, 5)), "y": np.zeros(8)}
    before, after = (g.infer(data, draws=20) for g in (guide, loaded))
    np.testing.assert_array_equal(before.posterior["weights"], after.posterior["weights"])


def test_saving_replaces_a_guide(mean_guide, line_guide, tmp_path):
    mean_guide.save(tmp_path / "guide")
    line_guide.save(tmp_path / "guide")
    assert ap.load(tmp_path / "guide").task.name == "line_model"
    assert [p.name for p in tmp_path.iterdir()] == ["guide"]


def test_saving_never_replaces_what_is_no_guide(line_guide, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(GuideError, match="is not a guide"):
        line_guide.save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_killed_write_leaves_the_old_guide(line_guide, mean_guide, tmp_path, monkeypatch, when):
    line_guide.save(tmp_path / "guide")
    written = []

    def die(path, content):
        written.append(path)
        if len(written) > when:
            raise KeyboardInterrupt
        files.write(path, content)

    monkeypatch.setattr(storage, "write", die)
    with pytest.raises(KeyboardInterrupt):
        mean_guide.save(tmp_path / "guide")
    assert ap.load(tmp_path / "guide").task.name == "line_model"
    assert [p.name for p in tmp_path.iterdir()] == ["guide"]


def test_saving_goes_to_nothing_but_a_folder(line_guide, saved, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(GuideError, match="is not a guide"):
        line_guide.save(tmp_path / "pipe")
    with pytest.raises(OSError, match="inside a guide's folder"):
        line_guide.save(saved / "inner")


def test_a_place_that_cannot_be_written(line_guide, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        line_guide.save(tmp_path / "file" / "guide")


def test_a_full_disk_leaves_the_old_guide(line_guide, mean_guide, tmp_path, monkeypatch):
    line_guide.save(tmp_path / "guide")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        mean_guide.save(tmp_path / "guide")
    assert ap.load(tmp_path / "guide").task.name == "line_model"
