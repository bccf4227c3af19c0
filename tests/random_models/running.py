"""Runs of many random models: their outcomes counted, or the smallest counter-example raised.

`AMORTPPL_RANDOM_MODELS` sets their number, `AMORTPPL_RANDOM_MODELS_SEED` the seed. Ordinary tests
have a fixed one otherwise, so that a change is judged by itself; the benchmark has that of the day.
"""

import gc
import os
from collections import Counter
from collections.abc import Iterator
from datetime import date

import jax
from hypothesis import HealthCheck, Phase, given, seed, settings

from random_models.description import Language, RandomModel
from random_models.property import Outcome, judge
from random_models.render import render
from random_models.strategy import random_models

PROGRAMS = 50
"""Models after which compiled programs are dropped."""


def seed_or(default: int) -> int:
    return int(os.environ.get("AMORTPPL_RANDOM_MODELS_SEED", default))


def seed_of_the_day() -> int:
    return seed_or(int(f"{date.today():%Y%m%d}"))


def number_of_models(default: int) -> int:
    return int(os.environ.get("AMORTPPL_RANDOM_MODELS", default))


class CounterExample(AssertionError):
    """A random model that is read wrongly, or refused without a clear error."""

    def __init__(self, described: RandomModel, outcome: Outcome) -> None:
        super().__init__(
            f"{outcome.kind}: {outcome.reason}\n\nkeep it as a test:\n{described!r}\n\n"
            f"{render(described)}"
        )


def check(language: Language, number: int, at: int) -> None:
    """Judges random models.

    Raises:
        CounterExample: the smallest that hypothesis finds near the first one.
    """
    seen = [0]

    def each(described: RandomModel) -> None:
        seen[0] += 1
        if seen[0] % PROGRAMS == 0:
            _drop_programs()
        outcome = judge(described)
        if outcome.bad:
            raise CounterExample(described, outcome)

    _hypothesis(language, number, at, each, (Phase.generate, Phase.shrink))


def outcomes(language: Language, number: int, at: int) -> Iterator[tuple[RandomModel, Outcome]]:
    """What came of each of so many different models."""
    drawn: dict[RandomModel, None] = {}
    for more in range(20):
        if len(drawn) < number:
            _hypothesis(language, number, at + more, drawn.setdefault, (Phase.generate,))
    for place, described in enumerate(list(drawn)[:number]):
        if place % PROGRAMS == 0:
            _drop_programs()
        yield described, judge(described)


def table(counted: Counter[tuple[str, str]]) -> str:
    """A line for each outcome, refusals by reason."""
    kinds = Counter()
    for (kind, _), count in counted.items():
        kinds[kind] += count
    lines = [f"{n:6d} {kind}" for kind, n in kinds.most_common()]
    reasons = [(n, k, r) for (k, r), n in counted.most_common() if k != "equal"]
    return "\n".join(lines + [f"{n:6d} {kind}: {reason}" for n, kind, reason in reasons])


def _hypothesis(language: Language, number: int, at: int, each: object, phases: tuple) -> None:
    options = settings(
        max_examples=number,
        phases=phases,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    seed(at)(options(given(random_models(language))(lambda described: each(described) or None)))()


def _drop_programs() -> None:
    jax.clear_caches()
    gc.collect()
