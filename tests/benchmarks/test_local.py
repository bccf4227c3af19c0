"""Latents of every row integrated out: the guide against NUTS on the model that samples them, and what it costs.

z is the error of the posterior mean in reference sds, ratio that of sds: medians over datasets and shared latents.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from numpyro import handlers
from numpyro.infer import MCMC, NUTS
from numpyro.infer.reparam import LocScaleReparam

import amortppl as ap
from amortppl.data import Dataset
from benchmarks.reference import scores, simulated

NAME, ROWS, DATASETS, DRAWS = "overdispersed_poisson", 100, 10, 2000


def nuts_with_effects(task, data, draws=DRAWS):
    """Draws of all latents of T datasets, effects sampled in units of their spread: by site (T, S, ...)."""
    model = handlers.reparam(task.model, config={"effect": LocScaleReparam(0)})

    def run(key, arrays):
        sampler = MCMC(NUTS(model, target_accept_prob=0.9), num_warmup=1000, num_samples=draws, progress_bar=False)
        sampler.run(key, **arrays)
        return sampler.get_samples()

    return jax.jit(jax.vmap(run))(jr.split(jr.key(5), DATASETS), {n: jnp.asarray(v) for n, v in data.items()})


def test_shared_and_local_posteriors(cost, say):
    with cost() as spent:
        guide = ap.train(ap.model(NAME), seed=0, progress=False)
    say(f"{NAME}: trained with defaults in {spent.cpu:.0f} CPU s, {spent.wall:.0f} s wall")
    task = guide.task
    _, data = simulated(task, DATASETS, ROWS)
    split = [Dataset({n: v[i] for n, v in data.items()}, {}) for i in range(DATASETS)]
    drawn = np.asarray(guide._draw(split, DRAWS, 0).vectors)
    with cost() as spent:
        reference = nuts_with_effects(task, data)
    names = task.latents.names
    first = {n: v[0] for n, v in data.items()}
    vectors = jax.vmap(jax.vmap(lambda s: task.unconstrain(s, first)))({n: reference[n] for n in names})
    found = scores(drawn, np.asarray(vectors))
    row = ", ".join(f"{k} {v:.3f}" for k, v in found.items())
    say(f"shared, {ROWS} rows, {DATASETS} datasets: {row} (NUTS with effects {spent.cpu:.0f} CPU s)")
    with cost() as spent:
        post = guide.infer(first, draws=DRAWS, predictive=False)
        effects = guide.local(post, first)["posterior"]["effect"].values[0]
    exact = np.asarray(reference["effect"][0])
    error = (effects.mean(0) - exact.mean(0)) / exact.std(0)
    ratio = effects.std(0) / exact.std(0)
    say(
        f"local, {ROWS} rows: rms error of the mean {np.sqrt(np.mean(error**2)):.3f} sd, sd ratio {ratio.mean():.3f} "
        f"({ratio.min():.3f} to {ratio.max():.3f}), k-hat {float(post['sample_stats']['khat']):.2f}; infer and "
        f"readout of {DRAWS} draws {spent.cpu:.1f} CPU s with compiling"
    )
    assert found["z"] <= 0.1 and 0.95 <= found["ratio"] <= 1.05
    assert np.sqrt(np.mean(error**2)) <= 0.1 and abs(ratio.mean() - 1) <= 0.03
