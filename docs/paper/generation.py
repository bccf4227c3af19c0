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
from paper.run import restored

SHAPES, EXAMPLES, NEW, EULER, DRAWS, ROWS = 12, 160, 200, 20, 32, 8


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
        sites = method.task.constrain(vector, {})
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


def references(examples: np.ndarray, fresh: np.ndarray, seed: int) -> dict[str, list[float]]:
    """Energy distances of what is not learned: a Gaussian's points, and the examples themselves."""
    rng, rows = np.random.default_rng(seed), {"Gaussian": [], "examples": []}
    for own, other in zip(examples, fresh, strict=True):
        points = rng.multivariate_normal(own.mean(0), np.cov(own.T), NEW)
        rows["Gaussian"].append(energy(points, other))
        rows["examples"].append(energy(own, other))
    return rows


JUDGED = {
    "mixtures": ("flow", "mixture"),
    "like": ("letters",),
    "letters": ("flow", "letters", "mixture"),
}
"""On which shapes the methods trained on a task are judged."""


def main() -> None:
    """Writes RESULTS/generation.json, and clouds of points for the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("build/paper"))
    folder, lines, clouds = parser.parse_args().results, {}, {}
    for test, tasks in JUDGED.items():
        examples, fresh = (np.asarray(a) for a in shapes(test, 0))
        lines |= {f"{test}/{n}": v for n, v in references(examples, fresh, 0).items()}
        clouds |= {f"{test}|examples": examples, f"{test}|fresh": fresh}
        for each in (p for task in tasks for p in sorted((folder / task).glob("*-0.eqx"))):
            task, method = each.parent.name, each.stem[:-2].replace("_", " ")
            built = restored(folder, task, method, 0)
            points = np.asarray(generated(built, examples, jr.key(1)), np.float64)
            clouds[f"{test}|{task}|{method}"] = points
            distances = [energy(a, b) for a, b in zip(points, fresh, strict=True)]
            lines[f"{test}/{task}/{method}"] = distances
            print(test, task, method, np.round(np.mean(distances), 4), flush=True)
    (folder / "generation.json").write_text(json.dumps(lines))
    np.savez_compressed(folder / "clouds.npz", **clouds)
