"""Digits, five ways, one and five shots, on digits that were not trained on: equal CPU time for
every method.

Nearest centroid is on pixels: p(c | x) proportional to exp(-t |x - m_c|^2), its t the best on
episodes of training.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import amortppl as ap
from amortppl.method import final
from amortppl.task.batch import Batch
from benchmarks.budget import trained

CPU_SECONDS, EPISODES, QUERIES = 60, 1000, 25

IMAGE = {"image": (8, 8)}

METHODS = {
    "versa": {"features": 32, **IMAGE},
    "conjugate_head": {"features": 32, **IMAGE},
    "maml": {"width": 32, **IMAGE},
}
"""Networks of the same kind and width."""


def episodes(name, shots, seed):
    """Contexts (T, 5 shots, ...) and queries (T, QUERIES, ...)."""
    task, rows = ap.model(name), 5 * shots
    drawn = jax.jit(jax.vmap(lambda k: task.simulate(k, rows + QUERIES).data))(
        jr.split(jr.key(seed), EPISODES)
    )
    return {n: v[:, :rows] for n, v in drawn.items()}, {n: v[:, rows:] for n, v in drawn.items()}


@eqx.filter_jit
def log_probabilities(method, context, query):
    """Of every class at every query, (T, QUERIES, 5)."""

    def one(labelled, new):
        at = method.predictive(
            final(method, Batch(labelled, jnp.ones(len(labelled["y"]), bool))), new
        )
        return jnp.stack(
            [at.log_prob(new | {"y": jnp.full_like(new["y"], c)}) for c in range(5)], -1
        )

    return jax.lax.map(lambda a: one(*a), (context, query), batch_size=50)


def nearest_centroid(shots):
    """Log probabilities of the classes at the queries of the held-out episodes."""

    def squares(context, query):
        own = jax.nn.one_hot(context["y"], 5)
        centroids = jnp.einsum("tnc,tnf->tcf", own, context["x"]) / shots
        return jnp.sum((query["x"][:, :, None] - centroids[:, None]) ** 2, -1)

    context, query = episodes("digits", shots, 1)
    distances, sharpness = squares(context, query), jnp.geomspace(0.01, 10, 61)
    scores = [mean_log(jax.nn.log_softmax(-t * distances), query["y"]).mean() for t in sharpness]
    return jax.nn.log_softmax(
        -sharpness[int(np.argmax(scores))] * squares(*episodes("digits:held_out", shots, 2))
    )


def mean_log(log_p, y):
    """Of each episode: the mean log probability of its queries' classes."""
    return np.asarray(jnp.take_along_axis(log_p, y[..., None], -1)[..., 0]).mean(1)


@pytest.fixture
def scores(say):
    """Accuracy of each episode, by method and number of shots; prints each row."""
    correct = {}

    def score(name, shots, log_p, note):
        y = episodes("digits:held_out", shots, 2)[1]["y"]
        right, log_score = np.asarray(jnp.argmax(log_p, -1) == y).mean(1), mean_log(log_p, y)
        correct[name, shots] = right
        of_right, of_score = (1.96 * v.std(ddof=1) / EPISODES**0.5 for v in (right, log_score))
        say(
            f"{name:16} {shots}-shot: accuracy {100 * right.mean():.1f} +- {100 * of_right:.1f} %, "
            f"log predictive "
            f"{log_score.mean():.3f} +- {of_score:.3f} nats{note}"
        )

    return correct, score


def test_accuracy_on_digits_not_trained_on(scores, cost):
    """Intervals are 95%, over episodes; differences are paired, episode by episode."""
    correct, score = scores
    for shots in (1, 5):
        score("nearest centroid", shots, nearest_centroid(shots), "")
    for name, options in METHODS.items():
        with cost() as spent:
            guide = trained(ap.model("digits"), ap.method(name, **options), CPU_SECONDS)
        for shots in (1, 5):
            log_p = log_probabilities(guide.method, *episodes("digits:held_out", shots, 2))
            score(name, shots, log_p, f", {spent.cpu:.0f} CPU s, {guide.record.steps} updates")
    for shots in (1, 5):
        for better in ("versa", "conjugate_head"):
            for worse in ("maml", "nearest centroid"):
                ahead = correct[better, shots] - correct[worse, shots]
                assert ahead.mean() > 1.96 * ahead.std(ddof=1) / EPISODES**0.5, (
                    better,
                    worse,
                    shots,
                )
