"""The errors a user can meet. Each says what was expected, what came, where, and the likely
cause.
"""

import difflib
from collections.abc import Iterable


class ModelError(ValueError):
    """The model cannot be amortized as written."""


class DataError(ValueError):
    """The data do not fit the task."""


class TrainingError(RuntimeError):
    """Training cannot go on."""


class GuideError(RuntimeError):
    """A saved guide cannot be used."""


class OutOfRangeWarning(UserWarning):
    """The data lie outside what the guide was trained on: believe the checks, not the guide."""


class UnreliableWarning(UserWarning):
    """An answer, or its check, does not follow from the model and the data as they are."""


class DesignWarning(UserWarning):
    """The data of a formula do not tell all that it asks, so that priors answer."""


class VersionWarning(UserWarning):
    """An optional package is of a version that this one was not tested with."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint `; did you mean 'x'?`, or nothing when no known name is near."""
    known = list(known)
    folded = {k.lower(): k for k in reversed(known)}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def quoted(names: Iterable[str]) -> str:
    """Names for a message: `'x', 'y'`, or `none`."""
    return ", ".join(repr(n) for n in names) or "none"
