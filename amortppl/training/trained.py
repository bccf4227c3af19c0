"""A trained method with the record of its training."""

import json
import warnings
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any

import equinox as eqx
import jax
import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.errors import OutOfRangeWarning
from amortppl.method import Method, Spec
from amortppl.task.batch import Batch
from amortppl.task.check_values import check_digest
from amortppl.training.ranges import Ranges
from amortppl.training.record import Record


class TrainedMethod:
    """A trained method, the task it was trained for, and how.

    Everything that asks a trained method (draws, streams, checks, reports) takes one of these;
    `Guide` adds the user's verbs.

    Attributes:
        method: the trained method (an Equinox module with `init`, `step`, `readout`).
        task: the task it was trained for.
        spec: the options it was built with.
        record: how it was trained.
        seed: the seed of its training.
        ranges: what it was trained on.

    Example:
        >>> import amortppl as ap
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), "laplace", progress=False)
        >>> len(guide.hash), guide.hash == guide.hash_with({"steps": 1})
        (16, False)
        >>> guide.identity.startswith(guide.hash)
        True
        >>> set(guide.blank.data["y"].tolist())
        {0.0}
        >>> from amortppl.data.dataset import read
        >>> guide.notes([read(guide.task, {"y": [0.3, -0.2, 1.1, 0.4]})])
        [[]]
        >>> guide.training()["method"]
        'Laplace'
    """

    def __init__(
        self, method: Method, spec: Spec, record: Record, seed: int, ranges: Ranges | None = None
    ) -> None:
        self.method, self.spec, self.record, self.seed = method, spec, record, seed
        self.task = method.task
        self.ranges = ranges or Ranges.from_simulations(self.task, seed)

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that differ where sites, method or weights differ."""
        return self.hash_with(vars(self.spec))

    def hash_with(self, options: dict[str, Any]) -> str:
        """`hash` of a method of these options, for example those that were known when it was
        saved.
        """
        parts = [self.task.fingerprint, options, self.method.revision]
        digest = sha256(json.dumps(parts, default=name_of).encode())
        for leaf in jax.tree.leaves(eqx.filter(self.method, eqx.is_array)):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def identity(self) -> str:
        """`hash`, and eight digits that differ where the model's densities do: what states, answers
        and unfinished jobs belong to.
        """
        return f"{self.hash}-{check_digest(self.task)}"

    @cached_property
    def blank(self) -> Batch:
        """One row of zeros, for callers that need the shapes of rows and not their values."""
        data = {n: np.zeros(s.shape, s.dtype) for n, s in self.task.rows_like.items()}
        return Batch(data, np.ones(len(next(iter(data.values()))), bool))

    def notes(self, datasets: Sequence[Dataset]) -> list[list[str]]:
        """Notes, by dataset, on what lies outside the ranges trained on; none where nothing does.

        Warns:
            OutOfRangeWarning: of each note of one dataset, or once of several datasets.
        """
        arrays = [d.arrays for d in datasets]
        notes = self.ranges.outside_each(arrays, self.task.group_layout)
        outside = [i for i, n in enumerate(notes) if n]
        warned = notes[0]
        if len(datasets) > 1 and outside:
            first = f"dataset {outside[0]}: {'; '.join(notes[outside[0]])}"
            count = f"{len(outside)} of {len(datasets)} datasets are unlike those trained on"
            warned = [f"{count}. The first is {first}"]
        for note in warned:
            warnings.warn(note, OutOfRangeWarning, stacklevel=4)
        return notes

    def training(self) -> dict[str, Any]:
        """A summary of the training, as JSON can hold it."""
        kept = ("steps", "tasks", "seconds", "device", "unusable", "skipped")
        # As built: defaults made definite.
        options = vars(getattr(self.method, "options", self.spec))
        return {
            "method": type(self.spec).__name__,
            "options": {k: _plain(v) for k, v in options.items()},
            "rows": self.ranges.rows,
            **{k: getattr(self.record, k) for k in kept},
            "loss": self.record.losses,
            "held_out": self.record.held_out,
        }


def name_of(thing: Any) -> str:
    """The name of an option that is a class, a function or a module."""
    return f"{thing.__module__}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def _plain(option: Any) -> Any:
    """An option as JSON can hold it."""
    if callable(option):
        return name_of(option)
    return list(option) if isinstance(option, tuple) else option
