"""A model of your own on real data: what Belgian households of 1857 spent on food (Engel's data).

The noise grows with income, so its scale gets a slope too. Incomes of the simulated households are
resampled from the real ones. The figure shows the posterior predictive against the data.
"""

from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from statsmodels.datasets import engel

import amortppl as ap


def food_expenditure(income, food=None):
    """Both in thousands of francs a year; shares and scales are per thousand francs of income."""
    base = numpyro.sample("base", dist.Normal(0, 0.2))
    share = numpyro.sample("share", dist.Normal(0.5, 0.25))
    scale = numpyro.sample("scale", dist.LogNormal(-2.5, 0.5))
    growth = numpyro.sample("growth", dist.Normal(1, 0.5))
    with numpyro.plate("household", income.shape[0]):
        numpyro.sample(
            "food", dist.Normal(base + share * income, scale * jnp.power(income, growth)), obs=food
        )


def main(steps: int = 300, out: Path = Path("own_model.png")) -> None:
    table = engel.load_pandas().data / 1000
    table = table.rename(columns={"foodexp": "food"})

    task = ap.Task(food_expenditure, inputs={"income": table["income"]}, rows=len(table))
    guide = ap.train(task, steps=steps, seed=0)
    posterior = guide.infer(table)
    print(posterior.posterior.mean(("chain", "draw")))
    print("Pareto k-hat:", float(posterior.sample_stats.khat))

    incomes = np.linspace(table["income"].min(), table["income"].max(), len(table))
    drawn = guide.predict(table, at={"income": incomes}, draws=4000).predictions["food"].values[0]
    low, middle, high = np.quantile(drawn, [0.05, 0.5, 0.95], axis=0)

    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    axis.fill_between(
        incomes, low, high, color="C0", alpha=0.25, linewidth=0, label="90% predictive interval"
    )
    axis.plot(incomes, middle, color="C0", label="predictive median")
    axis.scatter(table["income"], table["food"], s=8, color="black", label="households")
    axis.set(xlabel="income (1000 francs a year)", ylabel="spent on food (1000 francs a year)")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
