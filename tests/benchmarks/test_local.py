"""Latents of every row integrated out: the guide against NUTS on the model that samples them, and
what it costs.

z is the error of the posterior mean in reference sds, ratio that of sds: medians over datasets and
shared latents.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from numpyro import handlers
from numpyro.infer import MCMC, NUTS
from numpyro.infer.reparam import LocScaleReparam

import amortppl as ap
from amortppl.data.dataset import Dataset
from amortppl.posterior.draws import draw
from benchmarks.reference import scores, simulated

NAME, ROWS, DATASETS, DRAWS = "overdispersed_poisson", 100, 10, 2000


def nuts_with_effects(task, data, draws=DRAWS):
    """Draws of all latents of T datasets, effects sampled in units of their spread: by site (T, S,
    ...).
    """
    model = handlers.reparam(task.model, config={"effect": LocScaleReparam(0)})

    def run(key, arrays):
        sampler = MCMC(
            NUTS(model, target_accept_prob=0.9),
            num_warmup=1000,
            num_samples=draws,
            progress_bar=False,
        )
        sampler.run(key, **arrays)
        return sampler.get_samples()

    return jax.jit(jax.vmap(run))(
        jr.split(jr.key(5), DATASETS), {n: jnp.asarray(v) for n, v in data.items()}
    )


def test_shared_and_local_posteriors(cost, say):
    with cost() as spent:
        guide = ap.train(ap.model(NAME), seed=0, progress=False)
    say(f"{NAME}: trained with defaults in {spent.cpu:.0f} CPU s, {spent.wall:.0f} s wall")
    task = guide.task
    _, data = simulated(task, DATASETS, ROWS)
    split = [Dataset({n: v[i] for n, v in data.items()}, {}) for i in range(DATASETS)]
    drawn = np.asarray(draw(guide.method, split, DRAWS, 0).vectors)
    with cost() as spent:
        reference = nuts_with_effects(task, data)
    names = task.latents.names
    first = {n: v[0] for n, v in data.items()}
    vectors = jax.vmap(jax.vmap(lambda s: task.unconstrain(s, first)))(
        {n: reference[n] for n in names}
    )
    scored = scores(drawn, np.asarray(vectors))
    row = ", ".join(f"{k} {v:.3f}" for k, v in scored.items())
    say(
        f"shared, {ROWS} rows, {DATASETS} datasets: {row} (NUTS with effects {spent.cpu:.0f} CPU s)"
    )
    assert scored["z"] <= 0.1 and 0.95 <= scored["ratio"] <= 1.05
    with cost() as spent:
        given = [
            local_scores(guide, {n: v[i] for n, v in data.items()}, reference, i, None)
            for i in range(DATASETS)
        ]
    say(
        f"local given NUTS's shared draws: {told(given)}; {DATASETS} x {DRAWS} draws "
        f"{spent.cpu:.1f} CPU s"
    )
    own = [
        local_scores(guide, {n: v[i] for n, v in data.items()}, reference, i, DRAWS)
        for i in range(DATASETS)
    ]
    say(f"local given the guide's: {told(own)}")
    assert np.max(given, 0)[0] <= 0.08 and abs(np.mean(given, 0)[1] - 1) <= 0.02
    assert np.median(own, 0)[0] <= 0.1 and abs(np.median(own, 0)[1] - 1) <= 0.03


def local_scores(guide, data, reference, place, draws):
    """Rms error of the effects' means in sds, and median ratio of sds, given shared draws of NUTS
    or the guide's.
    """
    shared = {n: np.asarray(reference[n][place]) for n in guide.task.latents.names}
    post = guide.infer(data, draws=draws, predictive=False) if draws else shared
    effects, exact = (
        guide.local(post, data)["posterior"]["effect"].values[0],
        np.asarray(reference["effect"][place]),
    )
    error = (effects.mean(0) - exact.mean(0)) / exact.std(0)
    return np.sqrt(np.mean(error**2)), np.median(effects.std(0) / exact.std(0))


def told(pairs):
    """Rms errors and ratios over datasets, in words."""
    errors, ratios = np.transpose(pairs)
    return (
        f"rms error of the means {np.median(errors):.3f} sd (worst dataset {errors.max():.3f}), "
        f"sd ratio {np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f})"
    )
