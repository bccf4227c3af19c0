"""Several processes: the same weights as one, trees that arrive whole, and clear errors instead of
waiting for ever.
"""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import amortppl as ap
from amortppl.runtime import distributed
from amortppl.training import checkpoint
from conjugate import mean_model

TASK = """
import amortppl as ap
from conjugate import mean_model
spec = ap.method("parametric", signals=("data",), width=4, hidden=8, density="gaussian")
def quick(**given):
    return ap.train(ap.Task(mean_model, rows=(4, 16)), spec, batch=16, **({"steps": 50, "progress": False} | given))
def weights(guide):
    return [np.asarray(a).tolist() for a in jax.tree.leaves(guide.method) if isinstance(a, jax.Array)]
def message_of(action):
    try:
        action()
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
"""

ONE = """
import json, sys, jax, numpy as np
jax.config.update("jax_num_cpu_devices", 2)
sys.path.insert(0, sys.argv[1])
{TASK}
guide = quick()
json.dump({{"devices": jax.device_count(), "weights": weights(guide)}}, open(sys.argv[2] + "/one.json", "w"))
"""

MANY = """
import json, sys, jax, numpy as np
from types import SimpleNamespace
from unittest import mock
sys.path.insert(0, sys.argv[1])
folder, port, rank = sys.argv[2], sys.argv[3], int(sys.argv[4])
jax.distributed.initialize(f"localhost:{{port}}", num_processes=2, process_id=rank, initialization_timeout=60)
{TASK}
from amortppl.runtime import distributed
tree = {{"wide": np.float64(1 / 3) + rank, "rows": [np.int64(2**40 + rank)], "none": np.ones((0, 3), bool),
        "many": jax.numpy.arange(3) * rank}}
out = {{"leader": distributed.leader(), "devices": jax.device_count()}}
for name in ("all_gather", "broadcast"):
    gathered = getattr(distributed, name)(tree)
    out[name] = jax.tree.map(lambda a: [a.dtype.name, a.tolist()], gathered)
out["empty"] = distributed.all_gather({{}})
out["unlike"] = message_of(lambda: distributed.all_gather({{"a": np.ones(2 + rank)}}))

guide = quick(checkpoint=f"{{folder}}/many.{{rank}}", progress=True)
out |= {{"weights": weights(guide), "losses": guide.record.losses, "device": guide.record.device}}
out["own"] = [len(a.devices()) for a in jax.tree.leaves(guide.method) if isinstance(a, jax.Array)]
out["resumed"] = weights(quick(resume=f"{{folder}}/half"))
out["one only"] = message_of(lambda: quick(resume=f"{{folder}}/{{['half', 'absent'][rank]}}"))
out["seeds"] = message_of(lambda: quick(seed=rank))
# The module itself hides behind the function of its name
loop = sys.modules["amortppl.training.loop"]
trainer = loop.Trainer(ap.Task(mean_model, rows=(4, 16)), spec, loop.Schedule(steps=50, batch=16), 0)
reading = lambda path: message_of(lambda: loop._resume(f"{{folder}}/{{path}}", trainer))
out |= {{"none": reading("absent"), "two files": reading(["half", "many.0"][rank])}}
# The two clocks disagree; by the first, each look takes a second
clock = iter(range(0, 10**6, 1 + 10 * rank))
with mock.patch.object(loop, "time", SimpleNamespace(monotonic=lambda: float(next(clock)))):
    seen = [[a.tolist() for a in chunk] for chunk in loop._chunks(loop.Schedule(steps=None, minutes=0.2), 0, 0.0)]
out["clock"] = seen

streamer = ap.load(f"{{folder}}/guide", task=ap.Task(mean_model, rows=(4, 32)))
rows = ap.batches({{"y": np.load(f"{{folder}}/rows.npy")}}, 64, shard=(rank, 2))
*_, own = streamer.stream(rows, progress=False)
union = ap.combine(ap.all_gather(own))
frame = union.value.frame
out["stream"] = [own.rows, union.rows, frame.location.tolist(), frame.factor.tolist()]
json.dump(out, open(f"{{folder}}/{{rank}}.json", "w"))
"""

SECONDS = 240
"""Until processes that wait for each other are given up, on a machine as busy as may be."""


def launch(scripts, cache):
    """Runs scripts beside each other; when one fails, or all take too long, shows what each of them
    said.
    """
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    heard = [Path(folder, f"{i}.said") for i, (_, folder, *_) in enumerate(scripts)]
    commands = [
        [sys.executable, "-c", code, str(Path(__file__).parents[1]), *rest]
        for code, *rest in scripts
    ]
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("w")) for path in heard]
        running = [
            subprocess.Popen(c, env=env, stdout=f, stderr=subprocess.STDOUT)
            for c, f in zip(commands, files, strict=True)
        ]
        codes = finished(running)
    texts = [path.read_text() for path in heard]
    if codes != [0] * len(codes):
        told = [
            f"--- process {i}, exit code {codes[i]}:\n{text[-3000:]}"
            for i, text in enumerate(texts)
        ]
        pytest.fail(
            "\n".join(["processes failed (exit code None: killed after waiting)", *told]),
            pytrace=False,
        )
    return texts


def finished(running):
    """Exit codes, once all have ended or there is no more hope that they will; None for those
    killed then.
    """
    end = time.monotonic() + SECONDS
    while any(p.poll() is None for p in running) and time.monotonic() < end:
        if any(p.poll() for p in running):
            end = min(end, time.monotonic() + 3)  # the others may say why, too
        time.sleep(0.1)
    codes = [p.poll() for p in running]
    for process in running:
        process.kill()
        process.wait()
    return codes


class Killed(BaseException):
    pass


def train(**given):
    spec = ap.method("parametric", signals=("data",), width=4, hidden=8, density="gaussian")
    return ap.train(
        ap.Task(mean_model, rows=(4, 16)), spec, steps=50, batch=16, progress=False, **given
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def cache(request):
    kept = request.config.cache
    return kept.mkdir("jax") if kept is not None else ""


@pytest.fixture(scope="module")
def alone(folder, parts_as_users_have):
    """One process and one device; killed half-way on another day."""
    guide = train()
    module = sys.modules[
        "amortppl.training.loop"
    ]  # the module itself hides behind the function of its name

    def keep_and_die(_, *run):
        checkpoint.save_run(folder / "half", *run)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "save_run", keep_and_die)
        clock = iter(range(0, 10**6, 30))
        patch.setattr(module.time, "monotonic", lambda: float(next(clock)))
        with pytest.raises(Killed):
            train(checkpoint=folder / "half")
    return guide


@pytest.fixture(scope="module")
def rows():
    """999 rows of `mean_model`."""
    return np.random.default_rng(0).normal(1.5, 1.0, 999).astype(np.float32)


@pytest.fixture(scope="module")
def pair(alone, folder, cache, mean_guide, rows):
    """What two processes of one device each found, and what they said; beside them runs one of two
    devices.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    mean_guide.save(folder / "guide")
    np.save(folder / "rows.npy", rows)
    scripts = [(MANY.format(TASK=TASK), str(folder), port, str(rank)) for rank in range(2)]
    outputs = launch([*scripts, (ONE.format(TASK=TASK), str(folder))], cache)
    results = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    return results, outputs


def weights(guide):
    return [np.asarray(a) for a in jax.tree.leaves(guide.method) if isinstance(a, jax.Array)]


def assert_close(actual, expected):
    """Sums run in another order: float32's precision, amplified by 50 updates."""
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(pair, alone):
    results, _ = pair
    assert results[0]["weights"] == results[1]["weights"]
    assert_close(results[0]["weights"], weights(alone))
    np.testing.assert_allclose(results[0]["losses"], alone.record.losses, rtol=1e-5)
    assert [f["devices"] for f in results] == [2, 2] and "2 x" in results[0]["device"]


@pytest.mark.slow
def test_two_processes_learn_what_two_devices_do(pair, folder):
    one = json.loads((folder / "one.json").read_text())
    assert one["devices"] == 2
    assert_close(pair[0][0]["weights"], one["weights"])


@pytest.mark.slow
def test_two_processes_stream_their_shards_into_one_posterior(pair, mean_guide, rows):
    """Evidence of a conjugate model adds up exactly; the tolerance is float32's."""
    *_, whole = mean_guide.stream(ap.batches({"y": rows}, 64), progress=False)
    streams = [f["stream"] for f in pair[0]]
    assert streams[0][0] + streams[1][0] == streams[0][1] == 999
    assert streams[0][2:] == streams[1][2:]
    np.testing.assert_allclose(streams[0][2], whole.value.frame.location, atol=1e-4)
    np.testing.assert_allclose(streams[0][3], whole.value.frame.factor, rtol=1e-4)


@pytest.mark.slow
def test_each_process_has_a_guide_of_its_own(pair):
    """Its weights are on one device, so that inference waits for no other process."""
    assert all(set(result["own"]) == {1} for result in pair[0])


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_in_two(pair, alone):
    for result in pair[0]:
        assert_close(result["resumed"], weights(alone))


@pytest.mark.slow
def test_only_process_0_reports_and_writes(pair, alone, folder):
    assert "step 50  100%" in pair[1][0] and "step" not in pair[1][1]
    assert (folder / "many.0").is_file() and not (folder / "many.1").exists()
    assert_close(weights(train(resume=folder / "many.0")), weights(alone))


@pytest.mark.slow
def test_a_checkpoint_that_some_do_not_see_stops_all(pair):
    for messages in pair[0]:
        assert "worked in the processes [0] and not in [1]" in messages["one only"]
        assert "found none" in messages["none"] and "worked" not in messages["none"]
        assert "the processes [1] read another checkpoint" in messages["two files"]
    assert "found none" in pair[0][1]["one only"]


@pytest.mark.slow
def test_other_arguments_stop_all(pair):
    for rank, messages in enumerate(pair[0]):
        assert f"[1] were given another seed than process 0 ({rank} here" in messages["seeds"]


@pytest.mark.slow
def test_the_clock_of_process_0_stops_all_at_one_update(pair):
    (first, second), _ = pair
    assert first["clock"] == second["clock"] and len(first["clock"]) > 2


@pytest.mark.slow
def test_trees_arrive_whole(pair):
    """Also 64-bit numbers, which JAX would cut to 32."""
    for rank, result in enumerate(pair[0]):
        assert result["leader"] == (rank == 0) and result["empty"] == {}
        assert result["all_gather"] == {
            "wide": ["float64", [1 / 3, 1 / 3 + 1]],
            "rows": [["int64", [2**40, 2**40 + 1]]],
            "none": ["bool", [[], []]],
            "many": ["int32", [[0, 0, 0], [0, 1, 2]]],
        }
        assert result["broadcast"] == {
            "wide": ["float64", 1 / 3],
            "rows": [["int64", 2**40]],
            "none": ["bool", []],
            "many": ["int32", [0, 0, 0]],
        }
        assert (
            "those of [1] differ" in result["unlike"] and f"float64[{2 + rank}]" in result["unlike"]
        )


def test_one_process_needs_no_others():
    tree = {"a": jnp.arange(3), "b": (np.float64(1 / 3), np.zeros((0, 2)))}
    stacked = distributed.all_gather(tree)
    assert jax.tree.map(np.shape, stacked) == {"a": (1, 3), "b": ((1,), (1, 0, 2))}
    assert stacked["b"][0].dtype == np.float64 and stacked["b"][0][0] == 1 / 3
    assert distributed.broadcast(tree) is tree
    assert distributed.leader() and distributed.mismatches({"anything": 1}) == {}
    assert distributed.run_on_all(lambda: 3, OSError, "counting") == 3
    with pytest.raises(FileNotFoundError):
        distributed.run_on_all(Path("/nowhere/at/all").read_bytes, ValueError, "reading")
