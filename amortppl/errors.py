"""The errors a user can meet. Each says what was expected, what came, where, and the likely
cause.
"""

import difflib
from collections.abc import Iterable


class ModelError(ValueError):
    """The model cannot be amortized as written.

    Example:
        >>> import amortppl as ap, numpyro, numpyro.distributions as dist
        >>> ap.Task(lambda y=None: numpyro.sample("y", dist.Normal(), obs=y), name="coin")
        Traceback (most recent call last):
        amortppl.errors.ModelError: coin: no latent site: ...
    """


class DataError(ValueError):
    """The data do not fit the task, or an argument about them is wrong.

    Example:
        >>> import amortppl as ap
        >>> ap.batches({"y": [0.5]}, size=0)
        Traceback (most recent call last):
        amortppl.errors.DataError: batches: size should be a whole number of rows from 1 on, got 0
    """


class TrainingError(RuntimeError):
    """Training cannot begin or go on: an option is wrong, losses are not finite, or a checkpoint
    is of another run.

    Example:
        >>> import amortppl as ap
        >>> ap.train(ap.model("gaussian_mean"), steps=2, minutes=1.0)
        Traceback (most recent call last):
        amortppl.errors.TrainingError: train: give `steps` or `minutes`, not both
    """


class GuideError(RuntimeError):
    """A saved guide or state cannot be used, or a state is of another guide.

    Example:
        >>> import amortppl as ap
        >>> ap.load("no/such/folder")
        Traceback (most recent call last):
        amortppl.errors.GuideError: no/such/folder: expected a guide's folder, found nothing
    """


class OutOfRangeWarning(UserWarning):
    """The data lie outside what the guide was trained on: more or fewer rows, or values beyond
    those of simulated tasks. Look at k-hat before using the answer.

    Example:
        >>> import amortppl as ap, warnings
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), "laplace", progress=False)
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     post = guide.infer({"y": [0.3, -0.2, 1.1, 0.4] * 4}, draws=50)
        >>> [w.category is ap.OutOfRangeWarning for w in caught]
        [True]
    """


class SimulationWarning(UserWarning):
    """Simulations are left out, as the simulator failed or gave other than finite numbers.

    Posteriors are then given that the simulator succeeds.

    Example:
        >>> import amortppl as ap, numpyro.distributions as dist, warnings
        >>> def simulate(mean, rng):
        ...     if mean > 2:
        ...         raise ValueError("too far")
        ...     return rng.normal(mean, size=3)
        >>> prior, some = {"mean": dist.Normal(0, 1)}, {"simulations": 1000, "workers": 1}
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     task = ap.Task.from_simulator(prior, simulate, **some, progress=False)
        >>> print(caught[0].message)
        simulate: 24 of 1000 simulations are left out: 24 raised ValueError: too far...
    """


class UnreliableWarning(UserWarning):
    """The log joint that was computed for an answer is not the model's own on these data, so
    neither the draws nor k-hat can be relied on.

    The cause is named where it is one of these: numbers that need more than 32 bits, rows that are
    not independent, a density that changes when rows are padded.

    Example:
        >>> import amortppl as ap, numpyro, numpyro.distributions as dist, warnings
        >>> def far_out(rows, y=None):
        ...     mean = numpyro.sample("mean", dist.Normal(1e8, 1))
        ...     with numpyro.plate("row", rows):
        ...         numpyro.sample("y", dist.Normal(mean, 1), obs=y)
        >>> guide = ap.train(ap.Task(far_out, rows=(4, 8)), "laplace", progress=False)
        >>> data = {"y": [1e8 + 0.3, 1e8 + 1.4, 1e8 - 0.7, 1e8]}
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     post = guide.infer(data, draws=50)
        >>> ap.UnreliableWarning in [w.category for w in caught]
        True
        >>> bool(post["sample_stats"]["reliable"])
        False
    """


class DesignWarning(UserWarning):
    """The data do not determine all coefficients of a formula, so that these follow their priors:
    a column is constant or a sum of others, a group has one level, or a column separates outcomes.
    Or a table was read in a way to look at: rows left out, an encoding other than UTF-8.

    Example:
        >>> import amortppl as ap, warnings
        >>> table = {"y": [1.0, 2.0, 4.0], "x": [3.0, 3.0, 3.0]}
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     form = ap.formula("y ~ x", table)
        >>> {w.category.__name__ for w in caught}
        {'DesignWarning'}
    """


class VersionWarning(UserWarning):
    """An optional package is of a version that this one was not tested with.

    Example:
        >>> import amortppl as ap, warnings
        >>> with warnings.catch_warnings(action="ignore", category=ap.VersionWarning):
        ...     task = ap.model("gaussian_mean")
    """


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint `; did you mean 'x'?`, or nothing when no known name is near."""
    choices = list(choices)
    folded = {k.lower(): k for k in reversed(choices)}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def quoted(names: Iterable[str]) -> str:
    """Names for a message: `'x', 'y'`, or `none`."""
    return ", ".join(repr(n) for n in names) or "none"
