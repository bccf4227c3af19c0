"""What a step sees against how many steps there are: for signals_and_steps.md.

    python docs/signals_and_steps.py [CPU seconds of training for each guide, by default 45]

Every guide is trained on at most 512 rows with the same CPU seconds, then infers the same 20
datasets of 512 rows, cut into K mini-batches, against NUTS, and 20 of 4096 rows, beyond what it was
trained on. The Gaussian at NUTS's own mean and covariance is scored beside them.
"""

import csv
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import multivariate_normal

import amortppl as ap

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from benchmarks.budget import trained
from benchmarks.reference import nuts, simulated

SIGNALS = [("data",), ("gradient",), ("data", "gradient"), ("data", "gradient", "curvature")]
MODELS = ["linear_regression", "logistic_regression", "gaussian_mixture"]
STEPS = [1, 2, 4, 8, 16, 32]
FAR = 4096
NUTS = "Gaussian at NUTS's moments"
DATASETS, DRAWS = 20, 1000
HERE = Path(__file__).parent
HEAD = ["model", "signals", "updates", "rows", "steps"]
HEAD += ["log density", "standard error", "median", "error in sds"]


def guide_of(task, signals, seconds):
    """A guide trained for so many CPU seconds.

    What sees the likelihood is trained on one or two mini-batches.
    """
    steps = {"mini_batches": 1} if signals == ("data",) else {"mini_batches": 2, "uneven": True}
    return trained(task, ap.method("parametric", signals=signals), seconds, batch=64, **steps)


@eqx.filter_jit
def inferred(method, data, masks, truth, keys):
    """Log density of the true latents, and draws, after mini-batches.

    Args:
        method: a trained method.
        data: datasets, arrays (T, N, ...) by argument.
        masks: which rows are in each mini-batch, (K, N).
        truth: the true latents, (T, P).
        keys: random keys (T,).
    """

    def one(rows, truth, key):
        state = method.step(method.init(), ap.Batch(rows, masks[0]))
        state, _ = jax.lax.scan(
            lambda s, mask: (method.step(s, ap.Batch(rows, mask)), None), state, masks[1:]
        )
        posterior = method.readout(state)
        return posterior.log_prob(truth), posterior.sample(key, DRAWS)[0]

    return jax.vmap(one)(data, truth, keys)


def scored(guide, latents, data, steps, most, reference):
    """Log density of the true latents, summarised, and median error of the mean in sds.

    The sds are those of the reference draws.
    """
    rows = next(iter(data.values())).shape[1]
    # So many as `most`, of which most - steps are empty.
    masks = np.arange(rows) * steps // rows == np.arange(most)[:, None]
    keys = jr.split(jr.key(0), len(latents))
    density, vectors = inferred(guide.method, data, jnp.asarray(masks), jnp.asarray(latents), keys)
    density, vectors = np.asarray(density, np.float64), np.asarray(vectors, np.float64)
    off = np.nan
    if reference is not None:
        off = np.median(np.abs(vectors.mean(1) - reference.mean(1)) / reference.std(1))
    return *summary(density), off


def summary(density):
    """Mean over datasets, its standard error, and median."""
    return density.mean(), density.std() / np.sqrt(len(density)), np.median(density)


def table(seconds):
    """A row for each model, signals, number of rows and number of steps."""
    for model in MODELS:
        task = ap.model(model, rows=(50, 512) if model == "gaussian_mixture" else (8, 512))
        latents, data = simulated(task, DATASETS, 512)
        reference = nuts(task, latents, data, DRAWS)
        normal = [
            multivariate_normal(d.mean(0), np.cov(d.T)).logpdf(u)
            for d, u in zip(reference, latents, strict=True)
        ]
        yield [model, NUTS, "", 512, "", *summary(np.array(normal)), 0.0]
        far, long = simulated(task, DATASETS, FAR, seed=1)
        for signals in SIGNALS:
            guide = guide_of(task, signals, seconds)
            near, beyond = (512, latents, data, reference), (FAR, far, long, None)
            for rows, truth, sets, true in (near, beyond):
                for steps in STEPS if rows == 512 else (1, STEPS[-1]):
                    scores = scored(guide, truth, sets, steps, STEPS[-1], true)
                    line = [model, " + ".join(signals), guide.record.steps, rows, steps, *scores]
                    print(line, flush=True)
                    yield line


def plot_signals(pair, lines, signals, marker):
    """A line for one choice of signals in the two panels of a model."""
    own = [line for line in lines if line[1] == signals]
    steps = [line[4] for line in own]
    short, off = [lines[0][5] - line[5] for line in own], [line[8] for line in own]
    for panel, values in zip(pair, (short, off), strict=True):
        panel.plot(steps, values, marker=marker, label=signals)


def figure(lines):
    """Log density and error against steps over 512 rows.

    A panel for each model, a line for each choice of signals.
    """
    picture = Figure(figsize=(10, 6), layout="constrained")
    panels = picture.subplots(2, len(MODELS), sharex=True, sharey="row")
    for pair, model in zip(panels.T, MODELS, strict=True):
        own = [r for r in lines if r[0] == model and r[3] == 512]
        for signals, marker in zip(SIGNALS, "os^D", strict=True):
            plot_signals(pair, own, " + ".join(signals), marker)
        pair[0].set_title(model.replace("_", " "))
        pair[1].set_xlabel("steps over 512 rows")
    panels[0, 0].set_xscale("log", base=2)
    panels[0, 0].set_xticks(STEPS, [str(s) for s in STEPS])
    for panel, label in zip(
        panels[:, 0], ("nats below NUTS", "error of the mean, posterior sds"), strict=True
    ):
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_ylabel(label)
    picture.legend(
        *panels[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
    )
    picture.savefig(HERE / "signals_and_steps.png", dpi=110)


if __name__ == "__main__":
    lines = list(table(float(sys.argv[1]) if len(sys.argv) > 1 else 45.0))
    with open(HERE / "signals_and_steps.csv", "w", newline="") as file:
        csv.writer(file).writerows([HEAD, *lines])
    figure(lines)
