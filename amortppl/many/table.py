"""Posteriors of all datasets of a table in long form, as a table: what a worker runs."""

from collections.abc import Iterable, Iterator
from itertools import batched
from typing import Any

import pandas as pd

from amortppl.data.columns import Columns
from amortppl.errors import DataError
from amortppl.many.answers import Answers, answer, list_draws, summarize
from amortppl.many.groups import is_several, read_groups
from amortppl.training.trained import TrainedMethod
from amortppl.trust.attempt import Ladder

CHUNK = 1024
"""Datasets that are answered at once."""

MANY, TOGETHER = 128, 64
"""Datasets of a table from which so many are in one compiled call on a CPU, which takes a third
less time than the few of `amortppl.posterior.padding`; a short table would be filled up."""

OUTPUTS = {"summary": summarize, "draws": list_draws}
"""What a table holds: a row for each dataset and latent, or one for each draw."""


def answer_chunks(
    guide: TrainedMethod,
    table: Any,
    by: str,
    draws: int,
    seed: int,
    columns: Columns | None,
    climb: Ladder | None,
    skip: int = 0,
) -> Iterator[Answers | int]:
    """The answers of `CHUNK` datasets after another; of the first `skip` chunks only their rows.

    The datasets of the skipped chunks are read and not answered.
    """
    expect_latents(guide)
    groups = read_groups(guide.task, table, by, columns)
    number, together = -1, None
    for number, chunk in enumerate(batched(groups, CHUNK)):
        if number == 0 and len(chunk) >= MANY:
            together = TOGETHER
        if number < skip:
            yield sum(g.dataset.rows for g in chunk)
        else:
            yield answer(guide, chunk, draws, seed, climb, together)
    if number < 0:
        raise DataError("data: the table has no rows; at least one is needed")


def map_table(
    guide: TrainedMethod,
    table: pd.DataFrame | Iterable[pd.DataFrame],
    by: str,
    draws: int,
    seed: int,
    columns: Columns | None,
    climb: Ladder | None,
    output: str,
) -> pd.DataFrame | Iterator[pd.DataFrame]:
    """The posteriors of all datasets of a DataFrame as one DataFrame, of an iterable of them as an
    iterator; see `Guide.map_batches`.
    """
    convert = converter(output)
    chunks = answer_chunks(guide, table, by, draws, seed, columns, climb)
    parts = (convert(each, by) for each in chunks if isinstance(each, Answers))
    return parts if is_several(table) else pd.concat(list(parts), ignore_index=True)


def converter(output: str) -> Any:
    """What makes the rows of a table of an output.

    Raises:
        DataError: there is no such output.
    """
    if output not in OUTPUTS:
        raise DataError(f"output: expected 'summary' or 'draws', got {output!r}")
    return OUTPUTS[output]


def expect_latents(guide: TrainedMethod) -> None:
    """Refuses a guide that predicts without latents.

    Raises:
        DataError: it has none to tabulate.
    """
    if guide.method.predicts:
        raise DataError(
            "by: a table of posteriors needs a method with latents, and "
            f"{type(guide.spec).__name__} predicts without any; use predict"
        )
