"""Options of `Guide.infer`: one object for the ladder, one for mini-batches, or their keywords."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from amortppl.errors import DataError, nearest
from amortppl.posterior.state import State
from amortppl.trust.attempt import Ladder


@dataclass(frozen=True)
class Streaming:
    """How `Guide.infer` goes through mini-batches.

    Attributes:
        passes: how often to go through the source.
        state: what to go on from: yesterday's posterior, or a state that stopped in this source.
        every: rows between two entries of the trace of means and sds; None for no trace.
        keep: a file that the state is written to every ten seconds and at the end.
        check: whether to read all rows once more for k-hat; by default when draws x rows <= 5e8.
        progress: whether to report while it runs.

    Example:
        >>> import amortppl as ap
        >>> ap.Streaming(passes=2, every=10_000).passes
        2
    """

    passes: int = 1
    state: State | None = None
    every: int | None = None
    keep: str | Path | None = None
    check: bool | None = None
    progress: bool = False


class Keywords(TypedDict, total=False):
    """Fields of `Ladder` and of `Streaming` that `Guide.infer` also takes as keywords."""

    khat: float
    shift: float
    scale: float
    ess: float
    rhat: float
    budget: float | None
    rungs: tuple[str, ...]
    keep: str | Path | None
    passes: int
    state: State | None
    every: int | None
    check: bool | None
    progress: bool


def ladder_of(trust: str | Ladder | None, given: Mapping[str, Any]) -> Ladder | None:
    """The ladder of the arguments of `infer`, or None without one.

    Raises:
        DataError: another word than "ladder", or a keyword that is no option of the ladder.
    """
    if isinstance(trust, Ladder):
        if given:
            raise DataError(f"infer: {next(iter(given))!r} belongs into the Ladder that trust= is")
        return trust
    if trust not in (None, "ladder"):
        raise DataError(f"trust: expected 'ladder', an ap.Ladder or None, got {trust!r}")
    names = [f.name for f in fields(Ladder)]
    unknown = [n for n in given if n not in names]
    if trust is None and given:
        name = next(iter(given))
        batches = "is for mini-batches; pass ap.batches(data) as the data"
        raise DataError(
            f"infer: {name!r} {'needs trust=' + repr('ladder') if name in names else batches}"
        )
    if unknown:
        raise DataError(
            f"infer: {unknown[0]!r} is no option of the ladder{nearest(unknown[0], names)}"
        )
    return None if trust is None else Ladder(**given)


def streaming_of(streaming: Streaming | None, given: Mapping[str, Any]) -> Streaming:
    """How to go through mini-batches, from the object or the keywords.

    Raises:
        DataError: both are given, or a keyword is no option of mini-batches.
    """
    names = [f.name for f in fields(Streaming)]
    unknown = [n for n in given if n not in names]
    if unknown:
        hint = nearest(unknown[0], names)
        raise DataError(f"infer: {unknown[0]!r} is no option for mini-batches{hint}")
    if streaming is not None and given:
        raise DataError(
            f"infer: {next(iter(given))!r} belongs into the Streaming that streaming= is"
        )
    return streaming or Streaming(**given)
