"""The guide is a NumPyro guide: SVI takes it and tunes its weights on one dataset.

A briefly trained guide of the eight schools leaves something to gain: the evidence lower bound says
how much.
"""

from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
import optax
from numpyro.infer import SVI, Predictive, Trace_ELBO

import amortppl as ap
from amortppl.catalogue import module


def main(steps: int = 150, tune: int = 1000, out: Path = Path("svi_finetune.png")) -> None:
    task = ap.model("eight_schools")
    guide = ap.train(task, steps=steps, seed=0)
    sigma, y = (
        jnp.asarray(module("models", "eight_schools").DATA[name], jnp.float32)
        for name in ("sigma", "y")
    )

    svi = SVI(task.model, guide, optax.adam(1e-3), Trace_ELBO(num_particles=16))
    start = svi.get_params(svi.init(jr.key(0), sigma, y))
    tuned = svi.run(jr.key(0), tune, sigma, y, progress_bar=False)
    bound, width = -np.asarray(tuned.losses), max(1, tune // 20)
    print(
        f"evidence lower bound: {bound[:width].mean():.2f} at first, {bound[-width:].mean():.2f} "
        f"after tuning"
    )

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
    left.plot(bound, color="0.8", linewidth=0.8, label="each step")
    left.plot(
        np.arange(width - 1, tune),
        np.convolve(bound, np.ones(width) / width, "valid"),
        label="moving mean",
    )
    left.set(
        xlabel="SVI step", ylabel="evidence lower bound (nats)", ylim=np.quantile(bound, [0.01, 1])
    )
    left.legend(frameon=False, loc="lower right")
    for params, label, color in ((start, "amortized", "black"), (tuned.params, "tuned", "C0")):
        drawn = Predictive(guide, params=params, num_samples=4000)(jr.key(1), sigma, y)
        right.hist(
            np.log(drawn["tau"]), np.linspace(-4, 4, 50), histtype="step", color=color, label=label
        )
    right.set(xlabel="log tau", yticks=[])
    right.legend(frameon=False, loc="upper left")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
