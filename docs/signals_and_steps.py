"""What a step sees against how many steps there are: the table and the figure of
signals_and_steps.md.

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
from amortppl.method import unroll
from amortppl.task.batch import Batch

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


def guide_of(task, signals, seconds):
    """A guide trained for so many CPU seconds; what sees the likelihood meets one or two
    mini-batches.
    """
    steps = {"mini_batches": 1} if signals == ("data",) else {"mini_batches": 2, "uneven": True}
    return trained(task, ap.method("parametric", signals=signals), seconds, batch=64, **steps)


@eqx.filter_jit
def inferred(method, data, masks, truth, keys):
    """Log density of the true latents, and draws, after the mini-batches that the masks (K, N)
    say.
    """

    def one(rows, truth, key):
        minis = Batch(
            {n: jnp.broadcast_to(v, (len(masks), *v.shape)) for n, v in rows.items()}, masks
        )
        states = unroll(method, minis)
        posterior = method.readout(jax.tree.map(lambda a: a[-1], states))
        return posterior.log_prob(truth), posterior.sample(key, DRAWS)[0]

    return jax.vmap(one)(data, truth, keys)


def scored(guide, latents, data, steps, most, reference):
    """Log density of the true latents, summarised, and median error of the mean in reference
    sds.
    """
    rows = next(iter(data.values())).shape[1]
    masks = (
        np.arange(rows) * steps // rows == np.arange(most)[:, None]
    )  # most - steps of them are empty
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
            for rows, truth, sets, true in (
                (512, latents, data, reference),
                (FAR, far, long, None),
            ):
                for steps in STEPS if rows == 512 else (1, STEPS[-1]):
                    found = scored(guide, truth, sets, steps, STEPS[-1], true)
                    line = [model, " + ".join(signals), guide.record.steps, rows, steps, *found]
                    print(line, flush=True)
                    yield line


def figure(lines):
    """Against steps over 512 rows, a line for each choice of signals, a panel a model: log density
    and error.
    """
    picture = Figure(figsize=(10, 6), layout="constrained")
    panels = picture.subplots(2, len(MODELS), sharex=True, sharey="row")
    for pair, model in zip(panels.T, MODELS, strict=True):
        own = [r for r in lines if r[0] == model and r[3] == 512]
        for signals, marker in zip(SIGNALS, "os^D", strict=True):
            some = [r for r in own if r[1] == " + ".join(signals)]
            steps, short, off = (
                [r[4] for r in some],
                [own[0][5] - r[5] for r in some],
                [r[8] for r in some],
            )
            for panel, values in zip(pair, (short, off), strict=True):
                panel.plot(steps, values, marker=marker, label=some[0][1])
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
        head = [
            "model",
            "signals",
            "updates",
            "rows",
            "steps",
            "log density",
            "standard error",
            "median",
            "error in sds",
        ]
        csv.writer(file).writerows([head, *lines])
    figure(lines)
