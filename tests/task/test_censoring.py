"""Censored observations: refused where simulations are not censored, accepted where they are."""

import re
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import amortppl as ap
from amortppl.errors import ModelError

PAGE = Path(__file__).parents[2] / "docs/censored.md"


@pytest.mark.parametrize("wide", [False, True])
def test_an_indicator_apart_from_the_value_is_refused(wide):
    def model(x, c, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            censored = dist.RightCensoredDistribution(dist.Normal(a * x, 1.0), c)
            numpyro.sample("y", censored.mask(x < 9) if wide else censored, obs=y)

    chosen = {"x": dist.Normal(0, 1), "c": lambda k, n: jr.bernoulli(k, 0.3, (n,)).astype(int)}
    with pytest.raises(ModelError, match="'y' is a RightCensoredDistribution, which simulates"):
        ap.Task(model, chosen)


def test_the_distribution_of_the_page_simulates_what_it_scores():
    """Simulated values end at the limit, and are scored there by the normal's upper tail."""
    space = {"__name__": "page"}
    exec(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S).group(1), space)
    inputs = {"x": dist.Normal(0, 1), "limit": dist.Uniform(0.5, 1.5)}
    task = ap.Task(space["model"], inputs, (8, 64))
    draws = [task.simulate(jr.key(seed), 64) for seed in range(8)]
    [drawn] = [d for d in draws if 4 < (d.data["y"] == d.data["limit"]).sum() < 60][:1]
    y, limit = np.asarray(drawn.data["y"]), np.asarray(drawn.data["limit"])
    assert (y <= limit).all()
    a, b, s = (np.asarray(v) for v in task.constrain(drawn.latents, drawn.data).values())
    law = stats.norm(a + b * np.asarray(drawn.data["x"]), s)
    truth = np.where(y == limit, law.logsf(y), law.logpdf(y))
    rows = task.log_densities(drawn.latents, {n: jnp.asarray(v) for n, v in drawn.data.items()})[1]
    assert np.asarray(rows) == pytest.approx(truth, rel=1e-3, abs=1e-3)
