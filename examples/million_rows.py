"""A million rows in one pass, by a guide trained on at most 256: how the posterior narrows with the
rows.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import amortppl as ap


def main(steps: int = 200, rows: int = 1_000_000, out: Path = Path("million_rows.png")) -> None:
    guide = ap.train(ap.model("logistic_regression", rows=(8, 256)), steps=steps, seed=0)

    rng = np.random.default_rng(1)
    weights = np.array([1.0, -0.5, 0.25, 0.0, 0.7])
    x = rng.standard_normal((rows, 5)).astype(np.float32)
    data = {"x": x, "y": rng.random(rows) < 1 / (1 + np.exp(-(0.3 + x @ weights)))}
    posterior = guide.infer(
        ap.batches(data, size=max(rows // 250, 1)), every=max(rows // 100, 1), draws=1000
    )

    trace, truth = posterior["trace"], weights
    mean, sd, seen = (trace[n].values for n in ("weights_mean", "weights_sd", "seen"))
    print(
        f"{int(posterior.sample_stats.rows):,} rows; largest error "
        f"{np.abs((mean[-1] - truth) / sd[-1]).max():.2f} sds"
    )

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for k in range(5):
        left.fill_between(
            seen, mean[:, k] - 2 * sd[:, k], mean[:, k] + 2 * sd[:, k], alpha=0.3, linewidth=0
        )
        left.plot(seen, mean[:, k], linewidth=1.2)
        right.plot(seen, sd[:, k], linewidth=1.2, label=f"weight {k}")
    left.hlines(truth, seen[0], seen[-1], color="black", linestyle=":", linewidth=1)
    left.set(xscale="log", xlabel="rows seen", ylabel="posterior mean, two sds on either side")
    right.plot(
        seen,
        sd[-1].mean() * np.sqrt(seen[-1] / seen),
        color="black",
        linestyle=":",
        label="1 / sqrt(rows)",
    )
    right.set(xscale="log", yscale="log", xlabel="rows seen", ylabel="posterior sd")
    right.legend(frameon=False, fontsize=8)
    figure.savefig(out, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
