"""The guide inside Pyro: SVI tunes its weights on one dataset, Importance checks it, NUTS starts
from it.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, SVI, Importance, Trace_ELBO

import amortppl as ap
import pyro


def model(rows, y=None):
    """Waiting times with an unknown mean and spread."""
    mean = pyro.sample("mean", dist.Gamma(4.0, 2.0))
    shape = pyro.sample("shape", dist.LogNormal(1.0, 0.5))
    with pyro.plate("row", rows):
        pyro.sample("y", dist.Gamma(shape, shape / mean), obs=y)


def main(
    steps: int = 150, tune: int = 300, draws: int = 500, out: Path = Path("pyro_svi.png")
) -> None:
    guide = ap.train(ap.Task(model, rows=(10, 100)), steps=steps, seed=0).to_pyro()
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    y = dist.Gamma(3.0, 1.5).sample((25,))

    elbo = Trace_ELBO(num_particles=8)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), elbo)
    bound = -np.array([svi.step(25, y) for _ in range(tune)])
    width = max(1, tune // 20)
    print(
        f"evidence lower bound: {bound[:width].mean():.2f} at first, {bound[-width:].mean():.2f} "
        f"after tuning"
    )

    importance = Importance(model, guide, num_samples=draws).run(25, y)
    print(f"effective sample size {float(importance.get_ESS()):.0f} of {draws}")

    kernel, starts = guide.start_nuts({"rows": 25, "y": y})
    sampler = MCMC(
        kernel,
        num_samples=draws,
        warmup_steps=min(100, draws),
        initial_params=starts,
        disable_progbar=True,
    )
    sampler.run(25, y)
    with torch.no_grad():
        drawn = [guide(25, y)["mean"].item() for _ in range(draws)]

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
    left.plot(bound, color="0.7", linewidth=0.8)
    left.set(xlabel="SVI step", ylabel="evidence lower bound (nats)")
    bins = np.linspace(*np.quantile(drawn, [0, 1]), 30)
    for label, values in (
        ("tuned guide", drawn),
        ("NUTS, started from it", sampler.get_samples()["mean"].numpy()),
    ):
        right.hist(values, bins, histtype="step", density=True, label=label)
    right.set(xlabel="mean", yticks=[])
    right.legend(frameon=False)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
