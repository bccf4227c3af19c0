"""Are discrete latents summed out as the plain model's density says? Asked once, when a task is
made.

    log sum_z exp log p(theta, z, y)

over every configuration z of the discrete latents, one by one, of a dataset of few rows, is
compared with the engine's log joint of the continuous latents theta.
"""

from itertools import product

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.handlers as handlers
from jaxtyping import Array
from scipy.special import logsumexp

from amortppl.errors import ModelError, quoted
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.task.abstract import AbstractTask
from amortppl.task.parity import Point, differ, simulated

ROWS, CONFIGURATIONS = 3, 1024
"""Rows of the dataset, where their number is free, and configurations that are summed at most; a
model with more is not compared.
"""


def check_enumeration(task: AbstractTask) -> None:
    """Compares a simulated task's log joint with the sum over all configurations.

    Raises:
        ModelError: they differ.
    """
    rows = ROWS if task.row_free else task.probe_rows[0]
    point = jax.tree.map(jnp.asarray, evaluate(lambda k: simulated(task, k, rows), jr.key(17)))
    states = _states(task, point)
    if states is None:
        return
    plain = evaluate(lambda p, z: jax.vmap(lambda each: _plain(task, p, each))(z), point, states)
    axes = task.local.density_axes
    engine = evaluate(lambda p: task.density.joint(p.vector, p.data, p.local, axes), point)
    ours, truth = float(engine[0] + engine[1].sum()), float(logsumexp(plain))
    if np.isfinite(truth) and differ(ours, truth, {"joint": np.asarray(truth)}):
        raise ModelError(
            f"{task.name}: with {quoted(states)} summed out the engine's log joint of a simulated "
            f"dataset is {ours:.6g}; the model's, summed over all {len(plain)} configurations, is "
            f"{truth:.6g}. It is likely that a site depends on something other than its arguments "
            "and the latents before it"
        )


def _plain(task: AbstractTask, point: Point, states: dict[str, Array]) -> Array:
    latents = task.latents.unflatten(point.vector) | point.local
    found = task.plain.density(latents, point.data, states)
    return found.total(list(found.sites))


def _states(task: AbstractTask, point: Point) -> dict[str, np.ndarray] | None:
    """Values of each discrete latent in every configuration; None where there are too many."""
    model, arguments = task.plain.called(point.data)
    with handlers.block():
        trace = handlers.trace(handlers.seed(model, jr.key(0))).get_trace(**arguments)
    hidden = {
        n: s
        for n, s in trace.items()
        if s["type"] == "sample"
        and not s["is_observed"]
        and s["infer"].get("enumerate") == "parallel"
    }
    supports = {n: np.asarray(s["fn"].enumerate_support(expand=False)) for n, s in hidden.items()}
    if any(
        v.size != len(v) or s["fn"].event_dim
        for v, s in zip(supports.values(), hidden.values(), strict=True)
    ):
        return None
    sizes = {n: int(np.size(s["value"])) for n, s in hidden.items()}
    choices = [list(supports[n].ravel()) for n in hidden for _ in range(sizes[n])]
    if not choices or np.prod([float(len(c)) for c in choices]) > CONFIGURATIONS:
        return None
    every, found, start = np.array(list(product(*choices))), {}, 0
    for name, site in hidden.items():
        columns = every[:, start : start + sizes[name]]
        found[name] = columns.reshape(-1, *np.shape(site["value"])).astype(site["value"].dtype)
        start += sizes[name]
    return found
