"""Poisson regression with an effect for each row, or each ten rows, untrained, by size.

CPU seconds to 1,000 draws of the shared latents, and to each effect's mean and sd, the first time
and again on other data of the same size; moments of the shared latents against importance weights by a lattice of every row's effect in float64, which shares
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
from amortppl.data.dataset import read
from amortppl.fit.frame_method import FrameAlone
from amortppl.posterior.draws import draw
from amortppl.posterior.local_moments import local_moments
from amortppl.runtime.numpy_evaluation import construct
from amortppl.trust import psis

SIZES = [int(n) for n in os.environ.get("ROWS", "100,5000").split(",")]
PUBLISHED = {100: 0.4, 5_000: 6, 25_000: 30, 100_000: 167}
DRAWS, COMPARED = 1000, 25_000


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module", params=["overdispersed_poisson", "grouped_counts"])
def method(request):
    return construct(FrameAlone().build, ap.model(request.param), jr.key(0))


def dataset(rows, seed):
    """Counts of a known program, with some four a row."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3))
    eta = 0.8 + x @ [0.3, -0.2, 0.1] + 0.6 * random.normal(size=rows)
    return {"x": x.astype(np.float32), "y": random.poisson(np.exp(eta)).astype(np.int32)}


def groups_of_ten(rows, seed):
    """Counts of regions with ten rows each, and exposures."""
    random = np.random.default_rng(seed)
    region, x = np.repeat(np.arange(rows // 10), 10), random.normal(size=rows)
    exposure = random.uniform(0.5, 5, rows)
    effect = 0.3 + 0.6 * random.normal(size=rows // 10)
    y = random.poisson(exposure * np.exp(effect[region] + 0.3 * x))
    return {"x": x, "exposure": exposure, "region": region, "y": y}


def log_joint_of_groups(vectors, data):
    """Level, slope and log spread (S, 3), effects summed over 61 places in 8 sds of theirs."""
    lattice = np.linspace(-8, 8, 61)
    log_mass = -(lattice**2) / 2 - special.logsumexp(-(lattice**2) / 2)
    y, x, exposure = (data[n].reshape(-1, 10) for n in ("y", "x", "exposure"))
    total = np.empty(len(vectors))
    for s, (level, slope, log_spread) in enumerate(vectors):
        effect = level + np.exp(log_spread) * lattice
        fixed = (np.log(exposure) + slope * x)[:, :, None]
        eta = fixed + effect
        each = (y[:, :, None] * eta - np.exp(eta)).sum(1)
        rows = special.logsumexp(log_mass + each, 1) - special.gammaln(y + 1).sum(1)
        prior = -(level**2) / 2 - 2 * slope**2 - np.exp(2 * log_spread) / 0.98 + log_spread
        total[s] = prior + rows.sum()
    return total


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
    spent, effects, grouped = [], [], bool(method.task.grouping)
    for seed in (0, 1):
        begin, data = cpu_seconds(), (groups_of_ten if grouped else dataset)(rows, seed)
        rows_read = read(method.task, data)
        drawn = draw(method, [rows_read], DRAWS, 0)
        vectors = np.asarray(drawn.vectors)[0]
        spent.append(cpu_seconds() - begin)
        begin = cpu_seconds()
        moments = local_moments(method.task, vectors, rows_read, 0)["effect"]
        effects.append(cpu_seconds() - begin)
    check = psis.check(np.asarray(drawn.log_joint), np.asarray(drawn.log_guide))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{method.task.name}, {rows:,} rows: first {spent[0]:.2f} CPU s, again {spent[1]:.2f} (INLA, 2018: "
          f"{PUBLISHED.get(rows)}), k-hat {float(check.khat[0]):.2f}, peak {memory:.2f} GiB; effects first {effects[0]:.2f}, again "
          f"{effects[1]:.2f}, their means' error at most {(moments.error / moments.sd).max():.4f} sd")  # fmt: skip
    if rows > COMPARED:
        return
    some = vectors[: 200 if rows > 5000 else 400 if rows > 1000 else DRAWS].astype(float)
    exact = log_joint_of_groups if grouped else log_joint
    log_weight = exact(some, data) - np.asarray(drawn.log_guide)[0][: len(some)]
    weights = np.exp(log_weight - log_weight.max())
    weights /= weights.sum()
    mean = weights @ some
    sd = np.sqrt(weights @ (some - mean) ** 2)
    off = np.abs(some.mean(0) - mean) / sd
    print(f"  means off by {np.round(off, 3)} sd, sd ratio {np.round(some.std(0) / sd, 3)}, "
          f"{1 / np.sum(weights**2):.0f} of {len(some)} draws worth")  # fmt: skip
    assert off.max() < 0.2
