"""One guide, a hundred datasets of different sizes, one call: a forest plot of all posteriors."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import amortppl as ap


def main(steps: int = 300, datasets: int = 100, out: Path = Path("many_datasets.png")) -> None:
    guide = ap.train(ap.model("gaussian_mean", rows=(8, 128)), steps=steps, seed=0)

    rng = np.random.default_rng(1)
    means = rng.standard_normal(datasets)
    sizes = np.round(np.exp(rng.uniform(np.log(8), np.log(128), datasets))).astype(int)
    data = [{"y": rng.normal(m, 1, n)} for m, n in zip(means, sizes, strict=True)]
    posterior = guide.infer(data, log_likelihood=False, predictive=False)

    draws = (
        posterior.posterior["mean"]
        .stack(sample=("chain", "draw"))
        .transpose("task", "sample")
        .values
    )
    low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=1)
    covered = (low < means) & (means < high)
    print(
        f"{covered.sum()} of {datasets} intervals of 90% cover; largest k-hat "
        f"{posterior.sample_stats.khat.max():.2f}"
    )

    order = np.argsort(means)
    place = np.arange(datasets)
    figure, axis = plt.subplots(figsize=(5, 0.07 * datasets + 1.5), layout="constrained")
    colors = np.where(covered[order], "C0", "C1")
    axis.hlines(place, low[order], high[order], color=colors, linewidth=1.2)
    axis.scatter(middle[order], place, c=colors, s=9, label="posterior median and 90% interval")
    axis.scatter(
        means[order],
        place,
        color="black",
        marker="|",
        s=22,
        linewidth=1,
        label="simulated with",
        zorder=3,
    )
    axis.set(
        xlabel="mean", ylabel="dataset, in order of the true mean", yticks=[], ylim=(-1, datasets)
    )
    axis.legend(loc="upper left", frameon=False, fontsize=8)
    axis.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(out, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
