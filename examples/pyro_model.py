"""A Pyro model, unmodified: train its guide, infer, and run NumPyro's NUTS on it for comparison.

`ap.Task` recognises a Pyro model by itself; `ap.from_pyro` gives it to NumPyro.
"""

from pathlib import Path

import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
import pyro.distributions as dist
import torch
from numpyro.infer import MCMC, NUTS

import amortppl as ap
import pyro


def model(dose, sick=None):
    """The chance to fall sick by dose, on the logit scale."""
    weights = pyro.sample(
        "weights", dist.Normal(torch.zeros(2), torch.tensor([1.0, 2.0])).to_event(1)
    )
    with pyro.plate("animal", len(dose)):
        pyro.sample("sick", dist.Bernoulli(logits=weights[0] + weights[1] * dose), obs=sick)


def main(steps: int = 500, draws: int = 1000, out: Path = Path("pyro_model.png")) -> None:
    task = ap.Task(model, inputs={"dose": dist.Uniform(-1.0, 1.0)}, rows=(10, 200))
    guide = ap.train(task, steps=steps, seed=0)

    rng = np.random.default_rng(1)
    dose = rng.uniform(-1, 1, 60).astype(np.float32)
    data = {
        "dose": dose,
        "sick": (rng.uniform(size=60) < 1 / (1 + np.exp(-2 * dose))).astype(np.float32),
    }
    posterior = guide.infer(data, draws=draws)
    print(f"k-hat {float(posterior['sample_stats'].khat):.2f}")

    sampler = MCMC(
        NUTS(ap.from_pyro(model)), num_warmup=draws, num_samples=draws, progress_bar=False
    )
    sampler.run(jr.key(0), **data)

    figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
    for label, drawn in (
        ("NUTS", sampler.get_samples()["weights"]),
        ("guide", posterior.posterior.weights.values[0]),
    ):
        axis.scatter(*np.asarray(drawn).T, s=5, alpha=0.4, linewidth=0, label=label)
    axis.set(xlabel="intercept", ylabel="slope of the dose")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(out, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
