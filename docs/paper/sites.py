"""What is learned beyond closed-form sites, where these are not exact: few rows to a mini-batch.

    python docs/paper sites

Logistic, Poisson and Student-t regression on three covariates. In nats, at the true weights w:

    short of exact   log p(w | y) - log q(w), whose mean is the expected KL(p | q)

with log p(w | y) normalised by importance sampling from half the prior, half a Student-t at the
mode. Each line has this for the sites alone, the network's part zeroed, after training, and for the
default guide of the same seconds of training.
"""

import argparse
import json
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import logsumexp
from jaxtyping import Array

import amortppl as ap
from amortppl.method import Method
from amortppl.task.batch import Batch
from paper.measure import states_along
from paper.results import RESULTS
from paper.training import trained

ROWS, DEPTHS, TASKS, DRAWS, COVARIATES = 4, (1, 2, 5, 10, 20), 256, 4000, 3


def logistic(x, y=None):
    """y ~ Bernoulli(logits = x w), w ~ N(0, 2^2)."""
    _rows(x, y, 2.0, lambda at: dist.Bernoulli(logits=at))


def poisson(x, y=None):
    """y ~ Poisson(exp(x w)), w ~ N(0, 1)."""
    _rows(x, y, 1.0, lambda at: dist.Poisson(jnp.exp(jnp.clip(at, -10, 6))))


def student(x, y=None):
    """y ~ StudentT(2, x w, 0.3), w ~ N(0, 1)."""
    _rows(x, y, 1.0, lambda at: dist.StudentT(2.0, at, 0.3))


def _rows(x, y, sd, kind):
    w = numpyro.sample("w", dist.Normal(0, sd).expand([COVARIATES]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", kind(x @ w), obs=y)


MODELS = {"logistic": logistic, "Poisson": poisson, "Student-t": student}


def task_of(name: str) -> ap.Task:
    """Tasks of 4 to 128 rows."""
    inputs = {"x": dist.Normal(0, 1).expand([COVARIATES])}
    return ap.Task(MODELS[name], inputs, rows=(ROWS, 128))


def alone(method: Any) -> Any:
    """The method's sites without what was learned."""
    parts = lambda m: [getattr(m.update.net, n) for n in ("out", "bias")] + [  # noqa: E731
        m.update.pair, m.update.skip, m.update.gate, m.update.start]  # fmt: skip
    return eqx.tree_at(parts, method, [jnp.zeros_like(a) for a in parts(method)])


@eqx.filter_jit
def log_q(method: Method, draws: Any) -> Array:
    """log q(w) at the true weights after each of the K, (T, K)."""

    def one(draw: Any) -> Array:
        states = states_along(method, draw.data, {}, ROWS, DEPTHS)
        return jax.vmap(lambda s: method.readout(s).log_prob(draw.latents))(states)

    return jax.lax.map(one, draws, batch_size=32)


@partial(jax.jit, static_argnums=0)
def log_exact(task: ap.Task, draws: Any, keys: Array) -> tuple[Array, Array]:
    """log p(w | y) at the true weights after each of the K, and effective draws, (T, K)."""

    def at_depth(draw: Any, key: Array, rows: Array) -> tuple[Array, Array]:
        batch = Batch(draw.data, jnp.arange(ROWS * max(DEPTHS)) < rows)
        log_joint = lambda w: task.log_prior(w) + task.log_likelihood(w, batch)  # noqa: E731
        mode = _mode(log_joint, draw.latents)
        root = jnp.linalg.cholesky(jnp.linalg.inv(_bent(log_joint, mode)))
        keys, size = jr.split(key, 3), len(mode)
        near = jr.t(keys[0], 5.0, (DRAWS, size))
        prior = dist.Normal(0, 2.0 if task.name == "logistic" else 1.0)
        w = jnp.where(
            jr.bernoulli(keys[1], 0.5, (DRAWS, 1)),
            mode + near @ root.T,
            prior.sample(keys[2], (DRAWS, size)),
        )
        log_t = dist.StudentT(5.0).log_prob(jnp.linalg.solve(root, (w - mode).T).T).sum(-1)
        log_t -= jnp.log(jnp.diag(root)).sum()
        proposal = jnp.logaddexp(log_t, prior.log_prob(w).sum(-1)) - jnp.log(2.0)
        weights = jax.vmap(log_joint)(w) - proposal
        evidence = logsumexp(weights) - jnp.log(DRAWS)
        effective = jnp.exp(2 * logsumexp(weights) - logsumexp(2 * weights))
        return log_joint(draw.latents) - evidence, effective

    rows = ROWS * jnp.asarray(DEPTHS)
    one = lambda at: jax.vmap(lambda r: at_depth(at[0], at[1], r))(rows)  # noqa: E731
    return jax.lax.map(one, (draws, keys), batch_size=8)


def _bent(log_joint: Any, at: Array) -> Array:
    """-Hessian, its eigenvalues kept positive."""
    values, vectors = jnp.linalg.eigh(-jax.hessian(log_joint)(at))
    return (vectors * jnp.maximum(jnp.abs(values), 0.2)) @ vectors.T


def _mode(log_joint: Any, start: Array) -> Array:
    """Damped Newton steps from the true weights."""

    def step(at: Array, _: None) -> tuple[Array, None]:
        move = jnp.linalg.solve(_bent(log_joint, at), jax.grad(log_joint)(at))
        sizes = jnp.asarray([1.0, 0.3, 0.1, 0.0])
        tried = at + sizes[:, None] * move
        return tried[jnp.argmax(jax.vmap(log_joint)(tried))], None

    return jax.lax.scan(step, start, None, 15)[0]


def measured(name: str, objective: str, seconds: float, seed: int) -> dict[str, Any]:
    """A line: updates, and the nats short of exact of sites and of the learned update."""
    options = {"closed_form": True, "most": ROWS, "layers": 2, "objective": objective}
    task, spec = task_of(name), ap.method("iterative_parametric", **options)
    method, updates = trained(task, spec, seconds, seed)
    guide, _ = trained(task, ap.method("parametric"), seconds, seed)
    keys = jr.split(jr.key(99 + seed), TASKS)
    draws = jax.jit(jax.vmap(lambda key: task.simulate(key, ROWS * max(DEPTHS))))(keys)
    exact, effective = (np.asarray(a, np.float64) for a in log_exact(task, draws, keys))
    short = {n: exact - np.asarray(log_q(m, draws), np.float64)
             for n, m in (("sites", alone(method)), ("learned", method), ("default guide", guide))
             }  # fmt: skip
    lines = {n: np.round(v, 4).tolist() for n, v in short.items()}
    return {"updates": updates, "seconds": seconds, "effective": float(effective.min()), **lines}


def main() -> None:
    """Writes RESULTS/sites.json: a line for each kind of rows and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--objectives", nargs="*", default=["reverse_kl", "forward_kl"])
    given = parser.parse_args()
    path = given.results / "sites.json"
    lines = json.loads(path.read_text()) if path.exists() else {}
    for seed, objective, name in product(range(given.seeds), given.objectives, MODELS):
        key = f"{name}/{objective}/{seed}"
        if key not in lines:
            line = measured(name, objective, given.seconds, seed)
            lines[key] = line
            path.write_text(json.dumps(lines))
            short = {n: np.mean(v, 0).round(3) for n, v in line.items() if isinstance(v, list)}
            print(key, line["updates"], round(line["effective"]), short, flush=True)
