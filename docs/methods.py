"""Methods x models: the README's second figure and its table, from the evaluation that `amortppl
compare` makes.

    python docs/methods.py [minutes of training for each, by default 2]

Models that the table already has are not trained again.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from amortppl.diagnostics.compare import compare

MODELS = {
    "linear_regression": "linear\nregression",
    "logistic_regression": "logistic\nregression",
    "poisson_regression": "Poisson\nregression",
    "sinusoid_regression": "sinusoid",
    "gp_regression": "Gaussian\nprocess",
    "digits": "digits,\nfew-shot",
}
METHODS = {
    "parametric": "parametric",
    "in_context": "in-context",
    "neural_process": "neural process",
    "conjugate_head": "conjugate head (ALPaCA)",
    "hypernetwork": "hypernetwork",
    "maml": "MAML",
    "learned_optimiser": "learned optimiser",
    "versa": "VERSA",
    "laplace": "Laplace, nothing learned",
    "svi": "SVI, nothing learned",
}
DATASETS = 20
HERE = Path(__file__).parent


def gaps(table, models):
    """Nats a query at the middle number of rows, below the exact predictive where it is known, else
    the best method.

    Returns:
        The gaps (methods, models), NaN where a method does not serve, and which models have an
        exact predictive.
    """
    found, exact = np.full((len(METHODS), len(models)), np.nan), []
    for column, model in enumerate(models):
        own = table[(table.model == model) & (table.steps == 1)]
        own = own[own.rows == np.median(np.unique(own.rows))].set_index("method")
        exact.append(bool(own.gap.notna().any()))
        gap = own.gap if exact[-1] else own.lpd.max() - own.lpd
        found[:, column] = [gap.get(method, np.nan) for method in METHODS]
    return found, exact


def said(gap):
    """A gap as its cell shows it."""
    if np.isnan(gap):
        return ""
    text = f"{gap:.3f}" if abs(gap) < 0.1 else f"{gap:.2f}" if abs(gap) < 10 else f"{gap:.0f}"
    return text.removeprefix("-") if float(text) == 0 else text


def picture(table, path=HERE / "methods.png"):
    """A cell for every method and every model that the table has."""
    models = [m for m in MODELS if m in set(table.model)]
    found, exact = gaps(table, models)
    figure = Figure(figsize=(2.6 + 1.1 * len(models), 5.2), layout="constrained")
    axis = figure.subplots()
    colours = LogNorm(0.003, 3, clip=True)
    shown = axis.imshow(np.maximum(found, 0.003), cmap="YlOrRd", norm=colours, aspect="auto")
    axis.set_facecolor("0.93")
    for (row, column), gap in np.ndenumerate(found):
        dark = not np.isnan(gap) and colours(max(gap, 0.003)) > 0.65
        axis.text(
            column,
            row,
            said(gap),
            ha="center",
            va="center",
            fontsize=9,
            color="white" if dark else "black",
        )
    below = [
        f"{MODELS[m]}\nbelow {'exact' if known else 'best'}"
        for m, known in zip(models, exact, strict=True)
    ]
    axis.set_xticks(range(len(models)), below, fontsize=8)
    axis.set_yticks(range(len(METHODS)), METHODS.values())
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    figure.colorbar(shown, label="nats a query", extend="both")
    figure.savefig(path, dpi=150)


def main(minutes=2.0):
    """Trains what is missing, a model at a time, and draws what there is."""
    path = HERE / "methods.csv"
    table = pd.read_csv(path) if path.exists() else pd.DataFrame({"model": []})
    for model in MODELS:
        if model not in set(table.model):
            print(model, flush=True)
            found = compare(
                model,
                list(METHODS),
                minutes=minutes,
                datasets=DATASETS,
                say=lambda t: print(" ", t, flush=True),
            )
            table = pd.concat([table, found.assign(model=model, minutes=minutes)])
            table.to_csv(path, index=False, float_format="%.5g")
    picture(table)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
