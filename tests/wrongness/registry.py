"""What a case is, and what it came to: right, clear error, marked unreliable, or silent."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import amortppl as ap
from amortppl.errors import DataError, GuideError, ModelError, TrainingError
from amortppl.trust import misspecification

CLEAR = (ModelError, DataError, GuideError, TrainingError)
"""Errors that say what is wrong."""

MEAN, SD = 0.3, float(np.log(1.3))
"""Error of a mean, in sds, and of the logarithm of a sd beyond which an answer is wrong. 1000 draws
err by 0.03 and
0.02, Laplace's approximation of the posteriors here by at most 0.1: a right answer fails less than
    once in 10^6."""


class Seen(NamedTuple):
    """An answer: how far off, in units of what is allowed, and whether it says that it is not
    reliable.
    """

    off: float
    marked: bool = False


class Case(NamedTuple):
    """A case, and words that its error must have."""

    name: str
    run: Callable[[], Seen]
    words: tuple[str, ...]


class Outcome(NamedTuple):
    """What a case came to, and why."""

    verdict: str
    message: str


CASES: dict[str, Case] = {}


def case(name: str, *words: str) -> Callable[[Callable[[], Seen]], Callable[[], Seen]]:
    """Registers a case; if it ends in an error, its message must hold the words."""

    def put(run: Callable[[], Seen]) -> Callable[[], Seen]:
        assert name not in CASES
        CASES[name] = Case(name, run, words)
        return run

    return put


def outcome(case: Case) -> Outcome:
    """Runs a case."""
    try:
        with few_simulations():
            seen = case.run()
    except Exception as error:
        message = f"{type(error).__name__}: {str(error)[:160]}"
        lacking = [w for w in case.words if w not in str(error)]
        clear = isinstance(error, CLEAR) and not lacking
        return Outcome(
            "clear error" if clear else "UNCLEAR",
            f"{message}{f' (lacks {lacking})' if lacking else ''}",
        )
    if seen.off <= 1.0:
        return Outcome("right", f"off by {seen.off:.2f} of what is allowed")
    return Outcome(
        "marked unreliable" if seen.marked else "SILENT",
        f"off {seen.off:.3g} times what is allowed",
    )


@contextmanager
def few_simulations() -> Iterator[None]:
    """As the ordinary tests: the check of familiarity simulates few tasks."""
    before = misspecification.SIMULATED, misspecification.NEAREST
    misspecification.SIMULATED, misspecification.NEAREST = 128, 64
    try:
        yield
    finally:
        misspecification.SIMULATED, misspecification.NEAREST = before


def posterior(task: Any, data: Any, **options: Any) -> Any:
    """The posterior of a dataset by Laplace's approximation, which needs no training."""
    return ap.train(task, "laplace", progress=False).infer(data, predictive=False, **options)


def against(post: Any, truth: Mapping[str, tuple[Any, Any]]) -> Seen:
    """The plain draws of a posterior against the true mean and sd of each latent."""
    off = 0.0
    for name, (mean, sd) in truth.items():
        draws = post.posterior[name].values.reshape(-1, *np.shape(mean))
        with np.errstate(all="ignore"):
            shift = np.max(np.abs(draws.mean(0) - mean) / sd) / MEAN
            scale = np.max(np.abs(np.log(draws.std(0) / sd))) / SD
        off = max(off, *np.nan_to_num([shift, scale], nan=np.inf))
    return Seen(float(off), marked(post))


def marked(post: Any) -> bool:
    """Whether an answer says that it is not reliable."""
    return (
        not bool(np.all(post.sample_stats["reliable"]))
        if "reliable" in post.sample_stats
        else False
    )


def gaussian(
    x: np.ndarray, y: np.ndarray, noise: Any = 1.0, prior: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sds of w in y ~ N(x w, noise^2), w ~ N(0, prior^2)."""
    weight = 1 / np.broadcast_to(np.asarray(noise, float), y.shape) ** 2
    covariance = np.linalg.inv(np.eye(x.shape[1]) / prior**2 + (x * weight[:, None]).T @ x)
    return covariance @ (x * weight[:, None]).T @ y, np.sqrt(np.diag(covariance))


def on_grid(
    log_density: Callable[[np.ndarray], np.ndarray], low: float, high: float
) -> tuple[float, float]:
    """Mean and sd of a density of one number."""
    at = np.linspace(low, high, 20001)
    height = log_density(at)
    weight = np.exp(height - height.max())
    mean = np.sum(weight * at) / weight.sum()
    return float(mean), float(np.sqrt(np.sum(weight * (at - mean) ** 2) / weight.sum()))
