"""The same answers under another environment, or one clear error."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

MODEL = '''
import numpyro, numpyro.distributions as dist

def model(x, y=None):
    """Its docstring is nobody's business."""
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(w * x, 1), obs=y)
'''

MAKE = """
import sys; sys.path.insert(0, ".")
import numpy as np, numpyro.distributions as dist, amortppl as ap
from line import model
task = ap.Task(model, {"x": dist.Normal(0, 1)}, rows=(4, 16))
rng = np.random.default_rng(0)
x = rng.normal(size=12)
data = {"x": x, "y": 0.7 * x + rng.normal(size=12)}
"""

TRAIN = (
    MAKE
    + """
small = {"width": 4, "hidden": 8, "newton": 3, "sweeps": 1, "density": "gaussian"}
guide = ap.train(task, ap.method("parametric", **small), steps=1, batch=4, progress=False)
guide.save("guide")
guide.step(guide.init(), data).save("state")
"""
)

ANSWER = (
    MAKE
    + """
guide = ap.load("guide", task=task)
state = guide.load_state("state")
for post in (guide.infer(data, predictive=False), guide.infer(state)):
    w = post.posterior["w"].values
    print("moments", w.mean(), w.std())
"""
)


def run(folder, code, *flags, **environment):
    """A process of its own in a folder with the model."""
    (Path(folder) / "line.py").write_text(MODEL)
    return subprocess.run(
        [sys.executable, *flags, "-c", code], cwd=folder, capture_output=True, text=True,
        timeout=600, env=os.environ | environment, check=False,
    )  # fmt: skip


def moments(done):
    """Means and sds that it printed, (2, 2)."""
    assert done.returncode == 0, done.stderr[-2000:]
    moments = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("moments")]
    return np.array(moments, float)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder with a guide and a state, and the answers of both."""
    folder = tmp_path_factory.mktemp("plain")
    made = run(folder, TRAIN)
    assert made.returncode == 0, made.stderr[-2000:]
    return folder, moments(run(folder, ANSWER))


def test_without_asserts_and_docstrings_the_answers_are_the_same(plain):
    """Python's `-OO` leaves out what `-O` does, and docstrings."""
    folder, expected = plain
    np.testing.assert_allclose(moments(run(folder, ANSWER, "-OO")), expected, rtol=1e-5)


def test_64_bits_when_loading(plain):
    """Trained in 32 bits."""
    done = run(plain[0], ANSWER, JAX_ENABLE_X64="1")
    assert done.returncode == 1
    assert "GuideError: guide: trained with jax_enable_x64=False" in done.stderr.splitlines()[-1]


def test_64_bits_when_training(tmp_path, plain):
    """The same model and seed in 64 bits; other random numbers, 5 standard errors of 1000 draws."""
    made = run(tmp_path, TRAIN, JAX_ENABLE_X64="1")
    assert made.returncode == 0, made.stderr[-2000:]
    wide = moments(run(tmp_path, ANSWER, JAX_ENABLE_X64="1"))
    np.testing.assert_allclose(wide, plain[1], atol=0.1)


def test_a_platform_that_is_not_there(plain):
    """By the command line one line that names the variable; from Python JAX's own error does."""
    folder, _ = plain
    (folder / "rows.csv").write_text("x,y\n1,2\n0.5,1\n")
    command = "from amortppl.cli.commands import app; app()"
    trust = ["--trust-code", "line.py"]
    done = subprocess.run(
        [sys.executable, "-c", command, "infer", "guide", "rows.csv", "--out", "post.nc", *trust],
        cwd=folder, capture_output=True, text=True, timeout=600, check=False,
        env=os.environ | {"JAX_PLATFORMS": "nonsense"},
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert "JAX_PLATFORMS is 'nonsense'" in done.stderr
    raised = run(folder, ANSWER, JAX_PLATFORMS="nonsense")
    assert raised.returncode == 1 and "nonsense" in "".join(raised.stderr.splitlines()[-5:])
