"""Arrays on disk."""

import jax.numpy as jnp
import numpy as np
import pytest

from amortppl.errors import TrainingError
from amortppl.runtime.files import pack, unpack, write
from amortppl.training.checkpoint import load_run, save_run

TREE = {"a": jnp.arange(6.0).reshape(2, 3), "b": [jnp.array(2), jnp.zeros((0, 4))]}


def test_write_leaves_only_the_file(tmp_path):
    write(tmp_path / "new" / "file", b"one")
    write(tmp_path / "new" / "file", b"two")
    assert (tmp_path / "new" / "file").read_bytes() == b"two"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file"]


def test_failed_write_leaves_the_old_file(tmp_path):
    write(tmp_path / "file", b"old")
    with pytest.raises(TypeError):
        write(tmp_path / "file", "not bytes")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_round_trip(tmp_path):
    write(tmp_path / "file", pack(TREE, {"note": [1, "two"]}))
    tree, about = unpack(tmp_path / "file", TREE)
    assert about == {"note": [1, "two"]}
    np.testing.assert_array_equal(tree["a"], TREE["a"])
    assert tree["b"][0].dtype == TREE["b"][0].dtype and tree["b"][1].shape == (0, 4)


@pytest.mark.parametrize(
    "like", [{"a": TREE["a"]}, {**TREE, "c": TREE["a"]}, {**TREE, "a": jnp.zeros((3, 2))}]
)
def test_another_structure_is_refused(tmp_path, like):
    write(tmp_path / "file", pack(TREE, {}))
    with pytest.raises(ValueError, match="another structure"):
        unpack(tmp_path / "file", like)


@pytest.mark.parametrize("content", [b"", b"noise" * 50, pack(TREE, {})[:-3]])
def test_damage_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="cut short"):
        unpack(tmp_path / "file", TREE)


def test_a_run_remembers_what_it_is(tmp_path):
    save_run(tmp_path / "run", TREE, {"seed": 1, "task": "a"}, {"steps": 25})
    assert load_run(tmp_path / "run", TREE, {"seed": 1, "task": "a"})[1] == {"steps": 25}
    with pytest.raises(TrainingError, match=r"another seed.*\[1\] there, \[2\] here"):
        load_run(tmp_path / "run", TREE, {"seed": 2, "task": "a"})
