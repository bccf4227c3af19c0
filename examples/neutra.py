"""NUTS in the guide's frame: the posterior's place and shape come from the guide, so that the
target is nearly round.

With m and L L' the mean and covariance of the guide's unconstrained draws, NUTS samples z in u = m
+ L z. The linear case of neural transport: Hoffman et al. 2019, arXiv 1903.03704.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
from numpyro.infer import MCMC, NUTS

import amortppl as ap
from amortppl.task.batch import Batch

ROWS = 400


def main(steps: int = 500, draws: int = 500, out: Path = Path("neutra.png")) -> None:
    task = ap.model("poisson_regression")
    guide = ap.train(task, steps=steps, seed=0)
    data = task.simulate(jr.key(5), ROWS).data

    vectors, _ = guide.posterior(
        guide.step(guide.init(), {n: np.asarray(v) for n, v in data.items()})
    ).sample(jr.key(1), 2000)
    centre, frame = vectors.mean(0), jnp.linalg.cholesky(jnp.cov(vectors, rowvar=False))
    batch = Batch(data, jnp.ones(ROWS, bool))

    def run(potential, start):
        sampler = MCMC(
            NUTS(potential_fn=potential), num_warmup=100, num_samples=draws, progress_bar=False
        )
        sampler.run(jr.key(2), init_params=start, extra_fields=("num_steps",))
        return np.asarray(sampler.get_samples()), np.asarray(
            sampler.get_extra_fields()["num_steps"]
        )

    plain, plain_steps = run(lambda u: -task.log_joint(u, batch), jnp.zeros(task.latents.size))
    round_, round_steps = run(
        lambda z: -task.log_joint(centre + frame @ z, batch), jnp.zeros(task.latents.size)
    )
    print(
        f"gradients a draw: {plain_steps.mean():.1f} as written, {round_steps.mean():.1f} in the "
        f"guide's frame"
    )

    back = np.asarray(jax.vmap(lambda z: centre + frame @ z)(jnp.asarray(round_)))
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    shown = ("as written", plain), ("guide's frame", round_), ("back as written", back)
    for axis, (title, drawn) in zip(axes, shown, strict=True):
        axis.scatter(drawn[:, 0], drawn[:, 1], s=4, alpha=0.4, linewidth=0)
        axis.set(title=title)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
