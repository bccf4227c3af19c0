"""Poisson regression with an effect for each row, untrained, by the number of rows.

CPU seconds to 1,000 draws of the shared latents, the first time and again on other data of the same
size; moments against importance weights by a lattice of every row's effect in float64, which shares
nothing with the engine; peak memory. The anchor is R-INLA's published time for such a model (2018):
0.4 s at 100 rows, 6 at 5,000, 30 at 25,000, 167 at 100,000.

    ROWS=100,5000,25000 uv run pytest tests/benchmarks/test_poisson_sizes.py -n0 -s
"""

import os
import resource

import jax.random as jr
import numpy as np
import pytest
from scipy import special

import amortppl as ap
from amortppl.data.dataset import Dataset
from amortppl.fit.frame_method import FrameAlone
from amortppl.posterior.draws import draw
from amortppl.runtime.numpy_evaluation import construct
from amortppl.trust import psis

SIZES = [int(n) for n in os.environ.get("ROWS", "100,5000").split(",")]
PUBLISHED = {100: 0.4, 5_000: 6, 25_000: 30, 100_000: 167}
DRAWS, COMPARED = 1000, 5_000


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def method():
    task = ap.model("overdispersed_poisson")
    return construct(FrameAlone().build, task, jr.key(0))


def dataset(rows, seed):
    """Counts of a known program, with some four a row."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3))
    eta = 0.8 + x @ [0.3, -0.2, 0.1] + 0.6 * random.normal(size=rows)
    return {"x": x.astype(np.float32), "y": random.poisson(np.exp(eta)).astype(np.int32)}


def log_joint(vectors, data):
    """Intercept, log spread and weights (S, 5), effects summed over 61 places in 8 sds of theirs."""
    lattice = np.linspace(-8, 8, 61)
    log_mass = -(lattice**2) / 2 - special.logsumexp(-(lattice**2) / 2)
    x, y = data["x"].astype(float), data["y"].astype(float)
    total = np.empty(len(vectors))
    for s, (intercept, log_spread, *weights) in enumerate(vectors):
        eta = intercept + x @ weights
        each = eta[:, None] + np.exp(log_spread) * lattice
        rows = special.logsumexp(log_mass + y[:, None] * each - np.exp(each), 1)
        prior = -(intercept**2) / 2 - 2 * np.dot(weights, weights)
        prior += -np.exp(2 * log_spread) / 2 + log_spread
        total[s] = prior + np.sum(rows - special.gammaln(y + 1))
    return total


@pytest.mark.parametrize("rows", SIZES)
def test_seconds_and_shared_latents(method, rows):
    spent, names = [], method.task.latents.labels()
    for seed in (0, 1):
        begin, data = cpu_seconds(), dataset(rows, seed)
        drawn = draw(method, [Dataset(data, {})], DRAWS, 0)
        vectors = np.asarray(drawn.vectors)[0]
        spent.append(cpu_seconds() - begin)
    check = psis.check(np.asarray(drawn.log_joint), np.asarray(drawn.log_guide))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{rows:,} rows: first {spent[0]:.2f} CPU s, again {spent[1]:.2f} (INLA, 2018: "
          f"{PUBLISHED.get(rows)}), k-hat {float(check.khat[0]):.2f}, peak {memory:.2f} GiB")  # fmt: skip
    if rows > COMPARED:
        return
    assert names[0] == "intercept" and names[1] == "spread", names
    some = vectors[: 400 if rows > 1000 else DRAWS].astype(float)
    log_weight = log_joint(some, data) - np.asarray(drawn.log_guide)[0][: len(some)]
    weights = np.exp(log_weight - log_weight.max())
    weights /= weights.sum()
    mean = weights @ some
    sd = np.sqrt(weights @ (some - mean) ** 2)
    off = np.abs(some.mean(0) - mean) / sd
    print(f"  means off by {np.round(off, 3)} sd, sd ratio {np.round(some.std(0) / sd, 3)}, "
          f"{1 / np.sum(weights**2):.0f} of {len(some)} draws worth")  # fmt: skip
    assert off.max() < 0.2
