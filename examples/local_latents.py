"""A random effect for each row: counts that vary more than Poisson's, and which rows had more than
expected.

The guide learns what all rows share; the effects are integrated out of each row's likelihood, and
are read out afterwards for the rows that one asks about. The figure shows them against what they
were simulated with.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import amortppl as ap


def main(
    steps: int = 300, rows: int = 60, most: int = 128, out: Path = Path("local_latents.png")
) -> None:
    guide = ap.train(ap.model("overdispersed_poisson", rows=(16, most)), steps=steps, seed=0)

    rng = np.random.default_rng(1)
    x, effect = rng.standard_normal((rows, 3)), 0.8 * rng.standard_normal(rows)
    data = {"x": x, "y": rng.poisson(np.exp(0.5 + x @ [0.5, -0.3, 0.0] + effect))}

    posterior = guide.infer(data, draws=1000)
    print(posterior.posterior.mean(("chain", "draw")))
    print("Pareto k-hat:", float(posterior.sample_stats.khat))

    drawn = guide.local(posterior, data).posterior["effect"].values[0]
    low, middle, high = np.quantile(drawn, [0.05, 0.5, 0.95], axis=0)
    covered = (low < effect) & (effect < high)
    print(
        f"{covered.sum()} of {rows} intervals of 90% cover the effect that the row was simulated "
        f"with"
    )

    order = np.argsort(effect)
    place = np.arange(rows)
    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    axis.vlines(
        place, low[order], high[order], color="C0", alpha=0.5, linewidth=2, label="90% interval"
    )
    axis.scatter(place, middle[order], s=12, color="C0", label="posterior median")
    axis.scatter(
        place, effect[order], color="black", marker="_", s=30, label="simulated with", zorder=3
    )
    axis.set(xlabel="row, in order of its true effect", ylabel="effect on the log rate", xticks=[])
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
