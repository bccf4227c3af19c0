"""Train a guide for a linear regression, then read the posterior of one dataset.

Draws from the guide are shown beside exact draws, which this model happens to have.
"""

from pathlib import Path

import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np

import amortppl as ap
from amortppl.catalogue import module


def main(steps: int = 300, out: Path = Path("first_guide.png")) -> None:
    task = ap.model("linear_regression", rows=(8, 128))
    guide = ap.train(task, steps=steps, seed=0)

    rng = np.random.default_rng(1)
    weights, sigma = np.array([1.0, -0.5, 0.0, 0.3, -1.2]), 0.5
    x = rng.standard_normal((60, 5))
    data = {"x": x, "y": x @ weights + sigma * rng.standard_normal(60)}

    posterior = guide.infer(data, draws=4000)
    print(posterior.posterior.mean(("chain", "draw")))
    print("Pareto k-hat:", float(posterior.sample_stats.khat))

    exact = module("models", "linear_regression").exact_posterior(data, jr.key(2), 4000)
    drawn = {name: posterior.posterior[name].values[0] for name in exact}
    panels = [
        (f"weight {j}", drawn["weights"][:, j], exact["weights"][:, j], weights[j])
        for j in range(5)
    ]
    panels.append(("sigma", drawn["sigma"], exact["sigma"], sigma))

    figure, axes = plt.subplots(2, 3, figsize=(8, 4.5), layout="constrained")
    for axis, (title, guessed, reference, truth) in zip(axes.flat, panels, strict=True):
        bins = np.linspace(*np.quantile(reference, [0.001, 0.999]), 50)
        axis.hist(guessed, bins, density=True, color="C0", alpha=0.5, label="guide")
        axis.hist(reference, bins, density=True, color="black", histtype="step", label="exact")
        axis.axvline(truth, color="C3", linestyle="--", label="simulated with")
        axis.set(title=title, yticks=[])
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    figure.savefig(out, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
