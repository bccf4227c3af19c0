"""Two more instances of the equation: synthetic gradients, and MAML over an in-context predictor.

    python docs/paper instances

Synthetic gradients: trained on the digits 0 to 4, tested on these and on 5 to 9; a state that knows
the inputs of its queries against one of the same method that knows none.
MAML in context: pretrained on lines, tested on sinusoids; with its gradient steps, and without.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
from amortppl.models import image_features
from jaxtyping import Array

import amortppl as ap
from amortppl.method import Method
from amortppl.runtime.compilation import LIGHT, Compiled
from paper.measure import QUERIES, curve, states_along
from paper.results import RESULTS
from paper.training import trained

TASKS, LABELLED, UNLABELLED, NOISE, BATCH = 128, (4, 8), (0, 16), 0.3, 8

DEPTHS = (1, 2, 4)

DIGITS = {"0 to 4": image_features.episodes, "5 to 9": image_features.other_digits}


def refined(seed: int, seconds: float) -> dict[str, Any]:
    """Log densities and hits of queries, by labelled rows of a mini-batch and unlabelled rows."""
    task = ap.model("image_features", rows=(2, 32))
    method, updates = trained(task, ap.method("synthetic_gradient"), seconds, seed)
    out: dict[str, Any] = {"updates": updates}
    judge = Compiled(judged, LIGHT)
    for test, draw in (
        ("0 to 4", image_features.episodes),
        ("5 to 9", image_features.other_digits),
    ):
        rows = max(LABELLED) + max(UNLABELLED)
        keys = jr.split(jr.key(40_000 + seed), TASKS)
        data = jax.jit(jax.vmap(lambda key, d=draw, n=rows: d(key, n)))(keys)
        for labelled in LABELLED:
            for more in UNLABELLED:
                told = np.round(judge(method, data, labelled, more), 5).tolist()
                out[f"{test}: {labelled} labelled, {more} unlabelled"] = told
    return out


def judged(method: Method, data: dict[str, Array], labelled: int, more: int) -> Array:
    """(T, 2): mean log density of 16 queries, and the share that is told right."""

    def one(task: dict[str, Array]) -> Array:
        seen = {n: v[:labelled] for n, v in task.items()}
        rest = {n: v[max(LABELLED) :] for n, v in task.items()}
        asked = {n: v[:QUERIES] for n, v in rest.items()}
        near = {n: v[:more] for n, v in rest.items()}
        state = jax.tree.map(lambda a: a[0], states_along(method, seen, near, labelled, (1,)))
        classes = [
            method.predictive(state, asked).log_prob({**asked, "y": jnp.full_like(asked["y"], c)})
            for c in range(image_features.WAYS)
        ]
        told = jnp.stack(classes)
        own = jnp.take_along_axis(told, asked["y"][None], 0)[0]
        return jnp.stack([jnp.mean(own), jnp.mean(jnp.argmax(told, 0) == asked["y"])])

    return jax.vmap(one)(data)


def line(x, y=None):
    """y ~ N(a + b x, 0.3^2)."""
    a, b = (numpyro.sample(n, dist.Normal(0, 1)) for n in "ab")
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(a + b * x, NOISE), obs=y)


def sinusoid(key: Array, rows: int) -> dict[str, Array]:
    """y ~ N(a sin(2 x + b), 0.3^2), a from 1 to 2, x as in training."""
    keys = jr.split(key, 4)
    x = jr.uniform(keys[0], (rows,), minval=-2.0, maxval=2.0)
    size = jr.uniform(keys[1], minval=1.0, maxval=2.0)
    phase = jr.uniform(keys[2], maxval=2 * jnp.pi)
    return {"x": x, "y": size * jnp.sin(2 * x + phase) + NOISE * jr.normal(keys[3], (rows,))}


def adapted(seed: int, seconds: float) -> dict[str, Any]:
    """Log densities of queries, of lines and of sinusoids, with gradient steps and without."""
    task = ap.Task(line, {"x": dist.Uniform(-2, 2)}, rows=(4, 64))
    guide = ap.train(task, "prior_fitted", steps=400, seed=seed, progress=False)
    tests: dict[str, Callable] = {
        "lines": lambda key, rows: task.simulate(key, rows).data,
        "sinusoids": sinusoid,
    }
    with tempfile.TemporaryDirectory() as folder:
        start = str(guide.save(Path(folder) / "lines"))
        learned, updates = trained(task, ap.method("maml_in_context", start=start), seconds, seed)
        still = ap.method("maml_in_context", start=start, updates=0).build(task, jr.key(0))
        plain = ap.method("maml_in_context", start=start, updates=10).build(task, jr.key(0))
    methods = {"no step": still, "3 steps, meta-trained": learned, "10 steps": plain}
    out: dict[str, Any] = {"updates": updates, "depths": DEPTHS}
    for test, draw in tests.items():
        keys = jr.split(jr.key(50_000 + seed), TASKS)
        rows = BATCH * max(DEPTHS) + QUERIES
        data = jax.jit(jax.vmap(lambda key, d=draw, n=rows: d(key, n)))(keys)
        for name, method in methods.items():
            out[f"{test}, {name}"] = np.round(curve(method, data, BATCH, DEPTHS), 5).tolist()
    return out


PARTS = {"synthetic gradients": refined, "MAML in context": adapted}


def main() -> None:
    """Writes RESULTS/instances.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=15.0)
    given = parser.parse_args()
    path = given.results / "instances.json"
    lines = json.loads(path.read_text()) if path.exists() else {}
    for name, part in PARTS.items():
        if name not in lines:
            begun = time.process_time()
            lines[name] = part(0, given.seconds)
            lines[name]["date"] = time.strftime("%Y-%m-%d")
            path.write_text(json.dumps(lines))
            print(name, round(time.process_time() - begun, 1), "CPU s", flush=True)
