"""What a Gaussian over the latents is scored by, in nats.

    forward_kl   -log q(theta),  theta the latents that the task was simulated with
    reverse_kl   E_q [log q(u) - log p(u, D)],  D all rows that the state has seen
    predictive   -log E_q p(y* | x*, u), the mean over held-out rows

Their minima over tasks are the same where q can be the posterior; forward KL covers it, reverse KL
stays inside it (Mittal, Bracher, Lajoie, Jaini and Brubaker 2025, "Amortized in-context Bayesian
posterior estimation", arXiv 2502.06601).
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from amortppl.errors import ModelError, nearest, quoted
from amortppl.gaussian.belief import Belief
from amortppl.gaussian.log_density import Densities
from amortppl.method import Target
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

OBJECTIVES = ("forward_kl", "reverse_kl", "predictive")

DRAWS = 8
"""Draws that an expectation over q is the mean of; half of them mirror the others."""

FARTHEST = 50.0
"""Nats below the best row's log density, a row, at which draws far out stop to count."""


def check_objective(name: str, task: AbstractTask) -> None:
    """Refuses objectives that are not known or that the task cannot serve.

    Raises:
        LookupError: no objective of that name.
        ModelError: it needs a density that the task does not offer.
    """
    if name not in OBJECTIVES:
        raise LookupError(
            f"objective: {name!r} is none of {quoted(OBJECTIVES)}{nearest(name, OBJECTIVES)}"
        )
    if name != "forward_kl" and not task.likelihood:
        raise ModelError(
            f"objective: {name!r} needs the log density of {task.name}, which it does not offer; "
            f"'forward_kl' "
            "learns from simulated data alone"
        )


def forward_kl(belief: Belief, log: Densities, target: Target) -> Array:
    """-log q(theta), in unconstrained units; of a point half the squared error in prior units."""
    at = log.scale.standardize(target.latents)
    if belief.point:
        return 0.5 * jnp.sum((at - belief.location) ** 2)
    return jnp.sum(jnp.log(log.scale.scale)) - belief.log_prob(at)


def reverse_kl(belief: Belief, log: Densities, target: Target) -> Array:
    """E_q [log q(u) - log p(u, D)] by draws that can be differentiated; of a point -log p(m, D)."""
    assert target.seen is not None  # greedy training gives the rows seen
    joint = log.joint(target.seen)
    if belief.point:
        return -joint(belief.location)
    noise = _noise(belief, target.latents)
    heights = jax.vmap(joint)(belief.location + belief.unwhiten(noise))
    entropy = -belief.log_prob(belief.location) + 0.5 * noise.shape[1]
    return -entropy - jnp.mean(
        jnp.maximum(heights, jnp.max(heights) - FARTHEST * jnp.sum(target.seen.mask))
    )


def predictive(belief: Belief, log: Densities, target: Target) -> Array:
    """-log E_q p(y* | x*, u) by draws, the mean over held-out rows; a point is its own draw."""
    rows = next(iter(target.query.values())).shape[0]
    query = Batch(target.query, jnp.ones(rows, bool))
    noise = jnp.zeros((1, len(belief.location))) if belief.point else _noise(belief, target.latents)
    points = belief.location + belief.unwhiten(noise)
    heights = jax.vmap(lambda at: log.by_row(at, query))(points)
    return -jnp.mean(logsumexp(heights, 0) - jnp.log(noise.shape[0]))


def _noise(belief: Belief, latents: Float[Array, " P"]) -> Float[Array, "S P"]:
    """Standard normals, fresh for each task and step: the key is made of latents and rows seen."""
    bits = jax.lax.bitcast_convert_type(
        jnp.sum(latents) + belief.rows + jnp.sum(belief.location), jnp.uint32
    )
    half = jr.normal(jr.fold_in(jr.key(7), bits), (DRAWS // 2, len(belief.location)))
    return jnp.concatenate([half, -half])


SCORES = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "predictive": predictive}
