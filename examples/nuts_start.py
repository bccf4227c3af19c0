"""Start NumPyro's NUTS from the guide: chains begin at its draws, its covariance is the mass
matrix.

The eight schools' posterior has a funnel's tail that a quickly trained guide misses and NUTS does
not.
"""

from pathlib import Path

import arviz as az
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
from numpyro.infer import MCMC

import amortppl as ap
from amortppl.catalogue import module

DATA = module("models", "eight_schools").DATA


def main(steps: int = 500, draws: int = 1000, out: Path = Path("nuts_start.png")) -> None:
    guide = ap.train(ap.model("eight_schools"), steps=steps, seed=0)
    posterior = guide.infer(DATA, draws=4 * draws)

    kernel, starts = guide.start_nuts(DATA, chains=4, target_accept_prob=0.9)
    sampler = MCMC(
        kernel,
        num_warmup=100,
        num_samples=draws,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    sampler.run(jr.key(0), **DATA, init_params=starts)
    print(az.summary(sampler.get_samples(group_by_chain=True), var_names=["mu", "tau"]))

    figure, axes = plt.subplots(
        1, 2, figsize=(8, 4), sharex=True, sharey=True, layout="constrained"
    )
    nuts = sampler.get_samples()
    guessed = {name: posterior.posterior[name].values.ravel() for name in ("mu", "tau")}
    for axis, title, drawn in zip(
        axes, ("guide", "NUTS, started from the guide"), (guessed, nuts), strict=True
    ):
        axis.scatter(drawn["mu"], np.log(drawn["tau"]), s=4, alpha=0.4, linewidth=0, color="C0")
        axis.set(title=title, xlabel="mu")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set(ylabel="log tau", ylim=(-5, 4))
    figure.savefig(out, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
