"""Does what a user says of a factor's simulation fit the factor?

If y ~ p(y | theta) and a factor is log p(y | theta) up to what does not depend on theta, then

    E grad_theta factor(y, theta) = 0    at every theta,

so that the scores s_i of simulated rows add up to nothing, in units of their own size. Over K
simulated tasks of N rows,

    z = K^(-1/2) sum_k  sum_i s_ki / sqrt(sum_i s_ki^2).
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.errors import ModelError
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.parity import simulated

TASKS, ROWS, FARTHEST = 32, 256, 6.0
"""K, N, and z from which on both do not belong together. The sum of a task is off zero by
skewness / (2 sqrt N), so that a correct program is refused where scores have a skewness above 30.
"""


def check_factor_scores(task: AbstractTask) -> None:
    """Compares a factor with how its observations are simulated.

    Raises:
        ModelError: they do not belong together; it names the latent.
    """
    rows = ROWS if task.row_free else task.probe_rows[1]

    def score(key: Array) -> Array:
        point = simulated(task, key, rows)

        def each(vector: Array) -> Array:
            return task.density.joint(vector, point.data, point.local, task.local.density_axes)[1]

        slopes = jax.jacfwd(each)(point.vector)
        return jnp.sum(slopes, 0) / jnp.sqrt(jnp.sum(slopes**2, 0) + 1e-12)

    scores = np.asarray(evaluate(lambda keys: jax.vmap(score)(keys), jr.split(seed_key(31), TASKS)))
    scores = scores[np.isfinite(scores).all(1)]
    z = scores.sum(0) / np.sqrt(len(scores))
    worst = int(np.abs(z).argmax())
    if abs(z[worst]) > FARTHEST:
        raise ModelError(
            f"{task.name}: what simulate= draws does not follow the numpyro.factor: its derivative "
            f"by {task.latents.labels()[worst]!r}, which is zero on average over observations "
            f"drawn from the density that it is the logarithm of, is {z[worst]:.1f} standard "
            "errors away. It is likely that a normalizing term with a latent is missing, as "
            "-log(scale), or that the factor has another part than this observation's density"
        )
