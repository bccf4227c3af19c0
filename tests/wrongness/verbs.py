"""Rows that only rare data couple, asked by every verb: no simulated task shows it, so `Task` has to
accept the model, and each verb must tell by itself.
"""

import tempfile
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import amortppl as ap
from amortppl.errors import UnreliableWarning
from wrongness.columns import SLOPE
from wrongness.registry import Seen, case, marked


def centred(x, at=jnp):
    """Covariates less their mean where one of them is above 50: a simulation has none."""
    return x - at.where(at.max(x) > 50, at.mean(x), 0.0)


def plain(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(w * centred(x), 1), obs=y)


def with_effects(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        effect = numpyro.sample("effect", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(w * centred(x) + effect, 1), obs=y)


def with_labels(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        label = numpyro.sample("label", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(w * centred(x) + label, 1), obs=y)


def of_pyro():
    torch = pytest.importorskip("torch")
    import pyro.distributions as pdist

    import pyro

    def model(x, y=None):
        w = pyro.sample("w", pdist.Normal(0.0, 1.0))
        z = x - torch.where(torch.max(x) > 50, torch.mean(x), torch.zeros(()))
        with pyro.plate("row", len(x)):
            pyro.sample("y", pdist.Normal(w * z, torch.ones(())), obs=y)

    return model


def data(far=60.0, rows=33):
    """Without `far` no row looks at another."""
    rng = np.random.default_rng(0)
    x = far + rng.normal(size=rows)
    return {"x": x, "y": 1.5 * centred(x, np) + rng.normal(size=rows)}


@lru_cache
def guide_of(model=plain):
    return ap.train(ap.Task(model, SLOPE, rows=(8, 64)), "laplace", progress=False)


def wrong(told: bool) -> Seen:
    """The engine's posterior is several sds off, so it must be told."""
    return Seen(np.inf, bool(told))


def by_warning(ask: Callable[[], Any]) -> Seen:
    """A verb that returns numbers alone warns."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ask()
    return wrong(any(issubclass(w.category, UnreliableWarning) for w in caught))


@case("rarely coupled rows: one dataset of three")
def in_a_list():
    sets = [data(0.0), data(), data(0.0)]
    reliable = guide_of().infer(sets, predictive=False).sample_stats["reliable"].values
    return wrong(reliable.tolist() == [True, False, True])


@case("rarely coupled rows: the ladder")
def by_the_ladder():
    """Its upper rungs run the engine's log joint too."""
    return wrong(marked(guide_of().infer(data(), trust="ladder", predictive=False)))


@case("rarely coupled rows: a table of datasets")
def in_a_table():
    long = pd.concat([pd.DataFrame(data(far)).assign(who=far) for far in (0.0, 60.0)])
    table = guide_of().map_batches(long, "who", draws=400).set_index("who")["reliable"]
    return wrong(table[0.0] and not table[60.0])


@case("rarely coupled rows: predictions")
def in_predictions():
    tree = guide_of().predict(data(), at={"x": data()["x"]})
    return wrong("not reliable" in tree.attrs["warnings"])


@case("rarely coupled rows: log predictive densities")
def in_log_predictive():
    return by_warning(lambda: guide_of().log_predictive(data(), at=data()))


@case("rarely coupled rows: a state")
def in_a_state():
    guide = guide_of()
    return wrong(marked(guide.infer(guide.step(guide.init(), data()))))


@case("rarely coupled rows: predictions from a state")
def in_predictions_from_a_state():
    guide = guide_of()
    tree = guide.predict(guide.step(guide.init(), data()), at={"x": data()["x"]})
    return wrong("not checked" in tree.attrs["warnings"])


@case("rarely coupled rows: a guide read back")
def read_back():
    with tempfile.TemporaryDirectory() as folder:
        path = guide_of().save(Path(folder) / "guide")
        again = ap.load(path, task=guide_of().task)
    return wrong(marked(again.infer(data(), predictive=False)))


@case("rarely coupled rows: a latent a row")
def with_a_latent():
    return wrong(marked(guide_of(with_effects).infer(data(), predictive=False)))


@case("rarely coupled rows: a label a row")
def with_a_label():
    return wrong(marked(guide_of(with_labels).infer(data(), predictive=False)))


@case("rarely coupled rows: a model of Pyro's")
def in_pyro():
    return wrong(marked(guide_of(of_pyro()).infer(data(), predictive=False)))


@case("a guide far off, in predictions")
def far_off():
    """Nothing is coupled: a guide whose draws fit nothing says so when it predicts."""
    from spoiled import spoiled

    tree = spoiled(guide_of(), spread=30.0).predict(data(0.0), at={"x": data(0.0)["x"]})
    return wrong("not reliable" in tree.attrs["warnings"])
