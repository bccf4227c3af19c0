"""New points of a shape by the learned field: how far they are from the shape's own points.

    python docs/paper generation

Reads what `python docs/paper run` kept, carries noise along the mean velocity from
t = 0 to 1 in Euler steps, and writes energy distances and some clouds of points.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from amortppl.models import flow_letters, flow_mixture
from jaxtyping import Array, Float

from amortppl.method import Method, begin
from amortppl.task.batch import Batch
from paper.results import RESULTS
from paper.run import restored

SHAPES, EXAMPLES, NEW, EULER, DRAWS, ROWS = 12, 160, 200, 20, 32, 8

KERNEL = 0.2
"""Sd of the kernel that the examples are smoothed with, as a reference."""


def shapes(test: str, seed: int) -> tuple[Array, Array]:
    """Example points (T, 160, 2) and fresh points (T, 200, 2) of some shapes."""
    keys = jr.split(jr.key(500 + seed), SHAPES)
    letters = {"like": flow_letters.TRAINED, "letters": flow_letters.HELD_OUT}
    if test == "mixtures":
        draw = lambda key: flow_mixture.points(key, EXAMPLES + NEW)  # noqa: E731
    else:
        draw = lambda key: flow_letters.points(key, EXAMPLES + NEW, letters[test])  # noqa: E731
    points = jax.jit(jax.vmap(draw))(keys)
    return points[:, :EXAMPLES], points[:, EXAMPLES:]


@eqx.filter_jit
def generated(method: Method, examples: Float[Array, "T N 2"], key: Array) -> Array:
    """New points (T, 200, 2), noise carried along the mean velocity given the examples."""
    if not method.predicts:
        return jax.vmap(lambda points, k: _of_posterior(method, points, k))(
            examples, jr.split(key, len(examples))
        )
    return jax.lax.map(
        lambda at: _carried(method, *at), (examples, jr.split(key, len(examples))), batch_size=4
    )


def _carried(method: Method, points: Array, key: Array) -> Array:
    keys = jr.split(key, 3)
    seen = flow_mixture.bridge(keys[0], points)
    minis = {n: v.reshape(-1, ROWS, *v.shape[1:]) for n, v in seen.items()}

    def state_of(query: dict[str, Array]) -> Any:
        step = lambda s, mini: (method.step(s, Batch(mini, jnp.ones(ROWS, bool))), None)  # noqa: E731
        return jax.lax.scan(step, begin(method, query), minis)[0]

    empty = {"at": jnp.zeros((1, 2)), "t": jnp.zeros(1), "velocity": jnp.zeros((1, 2))}
    once = None if method.queries_first else state_of(empty)

    def euler(at: Array, number: Array) -> tuple[Array, None]:
        query = {"at": at, "t": jnp.full(NEW, number / EULER), "velocity": jnp.zeros_like(at)}
        state = state_of(query) if once is None else once
        drawn = method.predictive(state, query).sample(jr.fold_in(keys[2], number), DRAWS)
        return at + jnp.mean(drawn["velocity"], 0) / EULER, None

    return jax.lax.scan(euler, jr.normal(keys[1], (NEW, 2)), jnp.arange(EULER))[0]


def _of_posterior(method: Method, points: Array, key: Array) -> Array:
    """In the parametric regime: a point for each draw of the mixture."""
    keys = jr.split(key, 3)
    minis = {"y": points.reshape(-1, ROWS, 2)}
    step = lambda s, mini: (method.step(s, Batch(mini, jnp.ones(ROWS, bool))), None)  # noqa: E731
    state = jax.lax.scan(step, method.init(), minis)[0]
    vectors = method.readout(state).sample(keys[0], NEW)[0]

    def one(vector: Array, k: Array) -> Array:
        sites = method.task.constrain(vector, {"y": points})
        kind = jr.choice(k, 3, p=sites["weights"])
        noise = sites["spreads"][kind] * jr.normal(jr.fold_in(k, 1), (2,))
        return sites["centres"][kind] + noise

    return jax.vmap(one)(vectors, jr.split(keys[1], NEW))


def energy(a: Float[np.ndarray, "N 2"], b: Float[np.ndarray, "M 2"]) -> float:
    """Energy distance 2 E|A - B| - E|A - A'| - E|B - B'|, without pairs of a point and itself."""

    def mean(c: np.ndarray, d: np.ndarray, same: bool) -> float:
        lengths = np.linalg.norm(c[:, None] - d, axis=-1)
        return lengths.sum() / (lengths.size - len(c) * same)

    return float(2 * mean(a, b, False) - mean(a, a, True) - mean(b, b, True))


@jax.jit
def carried_by_mixture(mixture: Any, key: Array) -> Float[Array, "N 2"]:
    """Noise carried along the exact mean velocity of a mixture in as many Euler steps."""

    def euler(at: Array, number: Array) -> tuple[Array, None]:
        return at + flow_mixture.field(at, jnp.full(NEW, number / EULER), *mixture) / EULER, None

    return jax.lax.scan(euler, jr.normal(key, (NEW, 2)), jnp.arange(EULER))[0]


def references(test: str, examples: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """New points (T, 200, 2) of what is not learned.

    A Gaussian of the examples' moments; noise carried along the exact field of a kernel estimate on
    the examples, and, of mixtures, along that of the true one.
    """
    rng, keys = np.random.default_rng(seed), jr.split(jr.key(500 + seed), SHAPES)
    same, spread = jnp.full(EXAMPLES, 1.0 / EXAMPLES), jnp.full(EXAMPLES, KERNEL)
    made = {
        "Gaussian": [rng.multivariate_normal(e.mean(0), np.cov(e.T), NEW) for e in examples],
        "kernel's field": [
            carried_by_mixture((same, e, spread), k) for e, k in zip(examples, keys, strict=True)
        ],
    }
    if test == "mixtures":
        made["true field"] = [carried_by_mixture(flow_mixture.mixture(k), k) for k in keys]
    return {n: np.asarray(v, np.float64) for n, v in made.items()} | {"examples": examples}


JUDGED = {
    "mixtures": ("mixture", "flow"),
    "like": ("mixture", "letters"),
    "letters": ("mixture", "flow", "letters"),
}
"""On which shapes the methods trained on a task are judged."""


def main() -> None:
    """Writes RESULTS/generation.json, and clouds of points for the figure, where they lack one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    folder = parser.parse_args().results
    lines, clouds = _kept(folder)
    for test, tasks in JUDGED.items():
        examples, fresh = (np.asarray(a) for a in shapes(test, 0))
        clouds[f"{test}|fresh"] = fresh
        for name, points in references(test, examples, 0).items():
            clouds[f"{test}|{name}"] = points
            lines[f"{test}/{name}"] = _distances(points, fresh)
        for each in (p for task in tasks for p in sorted((folder / task).glob("*-0.eqx"))):
            task, method = each.parent.name, each.stem[:-2].replace("_", " ")
            if f"{test}/{task}/{method}" in lines:
                continue
            built = restored(folder, task, method, 0)
            points = np.asarray(generated(built, examples, jr.key(1)), np.float64)
            clouds[f"{test}|{task}|{method}"] = points
            lines[f"{test}/{task}/{method}"] = _distances(points, fresh)
            print(test, task, method, np.round(np.mean(_distances(points, fresh)), 4), flush=True)
            (folder / "generation.json").write_text(json.dumps(lines))
            np.savez_compressed(folder / "clouds.npz", **clouds)
    (folder / "generation.json").write_text(json.dumps(lines))
    np.savez_compressed(folder / "clouds.npz", **clouds)


def _kept(folder: Path) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Lines and clouds of an earlier run."""
    lines, clouds = folder / "generation.json", folder / "clouds.npz"
    if not (lines.exists() and clouds.exists()):
        return {}, {}
    return json.loads(lines.read_text()), dict(np.load(clouds))


def _distances(points: np.ndarray, fresh: np.ndarray) -> list[float]:
    return [energy(a, b) for a, b in zip(points, fresh, strict=True)]
