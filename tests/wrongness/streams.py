"""Rows in turn: streams, states, shards, and what is asked of a guide afterwards."""

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from scipy import stats

import amortppl as ap
from conjugate import SMALL
from wrongness.columns import SLOPE, straight, success
from wrongness.registry import Seen, against, case, gaussian, marked, on_grid
from wrongness.strange_data import GROUPS, WIDE, X, Y, effects, plane
from wrongness.strange_models import line, slope_of


def guide_of(model, inputs):
    return ap.train(ap.Task(model, inputs), "laplace", progress=False)


def table(folder, x=X, y=Y, name="rows.csv"):
    path = Path(folder) / name
    frame = pd.DataFrame({"x_0": x[:, 0], "x_1": x[:, 1], "y": y})
    frame.to_csv(path, index=False)
    return path


@case("a table of two unlike orders of columns")
def columns_move():
    """The second file has its columns in another order."""
    with tempfile.TemporaryDirectory() as folder:
        table(folder, name="a.csv")
        pd.DataFrame({"y": Y, "x_1": X[:, 1], "x_0": X[:, 0]}).to_csv(
            Path(folder) / "b.csv", index=False
        )
        source = ap.batches(str(Path(folder) / "*.csv"), size=8)
        post = guide_of(plane, WIDE).infer(source)
    return against(post, {"w": gaussian(np.vstack([X, X]), np.append(Y, Y))})


@case("one file twice in a list")
def file_twice():
    """A file is one, however often it is named."""
    with tempfile.TemporaryDirectory() as folder:
        path = table(folder)
        post = guide_of(plane, WIDE).infer(ap.batches([path, path], size=8))
    return against(post, {"w": gaussian(X, Y)})


@case("the same file into the same state again", "rows.csv")
def file_again():
    with tempfile.TemporaryDirectory() as folder:
        path, guide = table(folder), guide_of(plane, WIDE)
        *_, state = guide.stream(ap.batches(path, size=8), progress=False)
        post = guide.infer(ap.batches(path, size=8), state=state)
    return Seen(np.inf, marked(post))


@lru_cache
def learned():
    """A small guide whose states combine."""
    method = ap.method("parametric", **SMALL)
    return ap.train(ap.Task(plane, WIDE), method, steps=20, batch=16, progress=False)


@case("one state combined with itself", "combine", "same rows")
def state_with_itself():
    guide = learned()
    state = guide.step(guide.init(), {"x": X, "y": Y})
    return against(guide.infer(ap.combine([state, state])), {"w": gaussian(X, Y)})


@case("two equal shards combined", "combine", "same rows")
def equal_shards():
    guide = learned()
    states = [guide.step(guide.init(), {"x": X, "y": Y}) for _ in range(2)]
    return against(guide.infer(ap.combine(states)), {"w": gaussian(X, Y)})


@case("two disjoint shards combined")
def disjoint_shards():
    guide = learned()
    states = [guide.step(guide.init(), {"x": X[i::2], "y": Y[i::2]}) for i in range(2)]
    return against(guide.infer(ap.combine(states)), {"w": gaussian(X, Y)})


def other(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ w, 5), obs=y)


@case("a state of another model with the same sites", "another guide")
def state_of_another_model():
    first, second = guide_of(plane, WIDE), guide_of(other, WIDE)
    state = first.step(first.init(), {"x": X, "y": Y})
    post = second.infer(state)
    return against(post, {"w": gaussian(X, Y, noise=5.0)})


@case("a saved state of another model with the same sites", "another guide")
def saved_state_of_another_model():
    first, second = guide_of(plane, WIDE), guide_of(other, WIDE)
    with tempfile.TemporaryDirectory() as folder:
        path = first.step(first.init(), {"x": X, "y": Y}).save(Path(folder) / "state")
        post = second.infer(second.load_state(path))
    return against(post, {"w": gaussian(X, Y, noise=5.0)})


@case("a guide loaded for a model changed since", "another likelihood")
def guide_for_a_changed_model():
    """The same sites and families, another noise: the answer is the model's that was passed."""
    with tempfile.TemporaryDirectory() as folder:
        path = guide_of(plane, WIDE).save(Path(folder) / "guide")
        guide = ap.load(path, task=ap.Task(other, WIDE))
    return against(guide.infer({"x": X, "y": Y}), {"w": gaussian(X, Y, noise=5.0)})


@case("rows sorted by the covariate, in a stream")
def sorted_rows():
    rng = np.random.default_rng(0)
    x = np.sort(rng.normal(size=400))
    y = 0.7 * x + rng.normal(size=400)
    post = guide_of(straight, SLOPE).infer(ap.batches({"x": x, "y": y}, size=40, shuffle=None))
    return against(post, {"w": slope_of(x, y)})


@case("rows sorted by the outcome, in a stream of logistic rows")
def sorted_by_outcome():
    rng = np.random.default_rng(0)
    x = rng.normal(size=800)
    y = (rng.random(800) < 1 / (1 + np.exp(-1.5 * x))).astype(int)
    order = np.argsort(y, kind="stable")
    x, y = x[order], y[order]

    def joint(w):
        logits = x[:, None] * w
        return np.sum(y[:, None] * logits - np.logaddexp(0, logits), 0) - w**2 / 2

    post = guide_of(success, SLOPE).infer(ap.batches({"x": x, "y": y}, size=20, shuffle=None))
    return against(post, {"w": on_grid(joint, 0, 3)})


@case("a missing value in the middle of a stream", "'y'", "missing")
def missing_in_stream():
    y = np.where(np.arange(20) == 11, np.nan, Y)
    post = guide_of(plane, WIDE).infer(ap.batches({"x": X, "y": y}, size=4, shuffle=None))
    return Seen(np.inf, marked(post))


@case("a group beyond those known in the middle of a stream", "'g'", "7")
def group_in_stream():
    g = np.where(np.arange(20) == 11, 7, 0)
    source = ap.batches({"g": g, "y": Y}, size=4, shuffle=None)
    return Seen(np.inf, marked(guide_of(effects, GROUPS).infer(source)))


@case("log predictive densities of new rows")
def new_rows():
    mean, _ = gaussian(X, Y)
    covariance = np.linalg.inv(np.eye(2) + X.T @ X)
    at, y = np.array([[2.0, 1.0], [-3.0, 0.0]]), np.array([0.5, 4.0])
    spread = np.sqrt(1 + np.einsum("id,de,ie->i", at, covariance, at))
    truth = stats.norm.logpdf(y, at @ mean, spread)
    ours = guide_of(plane, WIDE).log_predictive({"x": X, "y": Y}, at={"x": at, "y": y})
    return Seen(float(np.max(np.abs(ours - truth)) / 0.3))


@case("predictions at rows as a Series of unlike index")
def predict_series():
    x, y = line()
    at = pd.Series([1.0, 2.0], index=[7, 3])
    tree = guide_of(straight, SLOPE).predict({"x": x, "y": y}, at={"x": at}, draws=4000)
    mean, sd = slope_of(x, y)
    draws = tree.predictions["y"].values.reshape(-1, 2)
    truth = mean * at.to_numpy(), np.sqrt(1 + (sd * at.to_numpy()) ** 2)
    return Seen(float(np.max(np.abs(draws.mean(0) - truth[0]) / truth[1]) / 0.1))


@case("predictions for a group that the guide does not know", "'g'", "9")
def predict_unknown_group():
    guide = guide_of(effects, GROUPS)
    guide.predict({"g": np.arange(4), "y": np.ones(4)}, at={"g": np.array([9])})
    return Seen(np.inf)


@case("predictions at a missing covariate", "'x'", "missing")
def predict_missing():
    guide = guide_of(straight, SLOPE)
    x, y = line()
    guide.predict({"x": x, "y": y}, at={"x": np.array([1.0, np.nan])})
    return Seen(np.inf)


@case("a list of datasets of unlike sizes")
def unlike_sizes():
    sets = [{"x": X[:n], "y": Y[:n]} for n in (1, 20, 7)]
    post = guide_of(plane, WIDE).infer(sets, predictive=False)
    off = 0.0
    for place, data in enumerate(sets):
        mean, sd = gaussian(data["x"], data["y"])
        draws = post.posterior["w"].values[place].reshape(-1, 2)
        off = max(off, float(np.max(np.abs(draws.mean(0) - mean) / sd) / 0.3))
    return Seen(off, marked(post))
