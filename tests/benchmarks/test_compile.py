"""What a user waits for, in multiples of I, the time of `import jax, numpyro` in a new process.

CPU seconds of a process and its threads, since a machine may be shared. Every row is measured in
the same run as I, with the packages' bytecode on disk as users have it: without it I is three times
as long.
"""

import os
import subprocess
import sys

import pytest

SLOPES = """
import jax.numpy as jnp, numpy as np, numpyro, numpyro.distributions as dist
GROUPS = 12
def model(group, x, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 1).expand([2]).to_event(1))
    sd = numpyro.sample("sd", dist.HalfNormal(1).expand([2]).to_event(1))
    cholesky = numpyro.sample("cholesky", dist.LKJCholesky(2, 2.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    with numpyro.plate("groups", GROUPS):
        z = numpyro.sample("z", dist.Normal(0, 1).expand([2]).to_event(1))
    line = mean + z @ (sd[:, None] * cholesky).T
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(line[group, 0] + line[group, 1] * x, noise), obs=y)
inputs = {"group": dist.Categorical(logits=jnp.zeros(GROUPS)), "x": dist.Normal(0, 1)}
rng = np.random.default_rng(0)
group, x = rng.integers(0, GROUPS, 180), rng.normal(size=180)
noise = 0.4 * rng.normal(size=GROUPS)[group] * x + 0.5 * rng.normal(size=180)
data = {"group": group, "x": x, "y": 0.5 + 0.3 * x + 0.5 * rng.normal(size=GROUPS)[group] + noise}
def task():
    import amortppl as ap
    return ap.Task(model, inputs, rows=(60, 240))
"""

LINEAR = """
import numpy as np
rng = np.random.default_rng(0)
def dataset(rows):
    x = rng.normal(size=(rows, 5))
    return {"x": x, "y": x @ rng.normal(size=5) + rng.normal(size=rows)}
data = dataset(60)
def task():
    import amortppl as ap
    return ap.model("linear_regression")
"""

NUTS = """
import jax
from numpyro.infer import MCMC, NUTS
kernel = MCMC(NUTS(model), num_warmup=500, num_samples=1000, progress_bar=False)
kernel.run(jax.random.key(0), *(jnp.asarray(data[n]) for n in ("group", "x", "y")))
"""

BUILD = """
import warnings; warnings.simplefilter("ignore")
import sys, amortppl as ap
from amortppl.guide.guide import Guide
from amortppl.runtime.numpy_evaluation import construct
from amortppl.runtime.seeds import seed_key
from amortppl.training.record import Record
from amortppl.trust import misspecification
misspecification.SIMULATED, misspecification.NEAREST = 128, 64  # it is read, and never made anew
built, spec = task(), ap.method("parametric")
Guide(construct(spec.build, built, seed_key(0)), spec, Record(), 0).save(sys.argv[1])
"""
"""Saves an untrained guide."""

FIRST = """
import warnings; warnings.simplefilter("ignore")
import sys, amortppl as ap
ap.load(sys.argv[1], task=task()).infer(data)
"""

LISTS = """
import warnings; warnings.simplefilter("ignore")
import sys, time, amortppl as ap
guide = ap.load(sys.argv[1], task=task())
for call in range(3):
    batch = [dataset(rows) for rows in rng.integers(20, 200, 1000)]
    begin = time.process_time()
    with ap.timings() as spent:
        guide.infer(batch, draws=500)
    print(time.process_time() - begin, spent.total.compiled + spent.total.loaded)
"""

CPU = "\nimport time; print(time.process_time())"


def run(code, *arguments, cache="off"):
    """What a new process printed, as numbers, its CPU seconds last."""
    return [float(word) for word in run_text(code, *arguments, cache=cache).split()]


def run_text(code, *arguments, cache="off"):
    """What a new process printed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "PYTHONDONTWRITE"))}
    done = subprocess.run(
        [sys.executable, "-c", code + CPU, *map(str, arguments)],
        env=env | {"AMORTPPL_CACHE": str(cache)},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def anchor():
    """I, in CPU seconds."""
    run("import jax, numpyro, amortppl.guide.load")  # writes bytecode
    return min(run("import jax, numpyro")[-1] for _ in range(2))


def test_listing(anchor, say):
    """The command line without JAX."""
    for words in (["models"], ["methods"], ["--help"], ["--version"]):
        code = f"""
from amortppl.cli.commands import app
try:
    app({words})
except SystemExit:
    pass
"""
        seconds = min(float(run_text(code).split()[-1]) for _ in range(2))
        say(f"amortppl {words[0]}: {seconds / anchor:.2f} I (to reach: 0.25)")
        assert seconds < anchor


@pytest.mark.parametrize(
    ("name", "model", "most"), [("linear regression", LINEAR, 2.5), ("slopes", SLOPES, 4.0)]
)
def test_first_answers_of_a_saved_guide(name, model, most, anchor, say, tmp_path):
    guide, cache = tmp_path / "guide", tmp_path / "programs"
    run(model + BUILD, guide)
    cold = run(model + FIRST, guide, cache=cache)[-1]
    warm = run(model + FIRST, guide, cache=cache)[-1]
    say(f"I = {anchor:.1f} CPU s; first infer, {name}: {cold / anchor:.1f} I with nothing cached "
        f"(to reach: {most}), {warm / anchor:.1f} I cached")  # fmt: skip
    assert warm < cold
    if name == "slopes":
        nuts = run(model + NUTS)[-1]
        say(f"one cold NUTS run: {nuts / anchor:.1f} I")


def test_lists_of_a_thousand_datasets(anchor, say, tmp_path):
    run(LINEAR + BUILD, tmp_path / "guide")
    numbers = run(LINEAR + LISTS, tmp_path / "guide")
    seconds, programs = numbers[0:6:2], numbers[1:6:2]
    say(f"1,000 datasets of 20 to 200 rows, 500 draws: {seconds} CPU s, {programs} programs")
    assert programs[1:] == [0, 0]
