"""What is measured of an inference on simulated datasets, in memory and in a file."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from amortppl.diagnostics.inferences.inference import Answers
from amortppl.diagnostics.sbc import Measurements
from amortppl.errors import DataError
from amortppl.runtime.files import pack, unpack, write
from amortppl.runtime.outputs import expect_kept

KIND = "calibration"
"""Key of what a checkpoint is for."""


class Simulated(NamedTuple):
    """T datasets of one number of rows.

    Attributes:
        data: by argument, (T, N, ...).
        truth: the latents that made each, unconstrained, (T, P).
        rows: N; for a block the number of its first dimension is 1.
    """

    data: dict[str, np.ndarray]
    truth: np.ndarray
    rows: int


class Measured(NamedTuple):
    """What came of an inference.

    Attributes:
        measurements: of the datasets that it answered.
        problems: for each dataset what went wrong, in words; empty where nothing did.
        kept: draws of each dataset after thinning.
        mean, sd: moments of each dataset's draws, (T, P); NaN where there are none.
    """

    measurements: Measurements
    problems: list[str]
    kept: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


class Store:
    """What is measured of each dataset, in memory and in a file."""

    def __init__(
        self, groups: list[Simulated], size: int, path: str | Path | None, about: dict[str, Any]
    ) -> None:
        count = sum(len(g.truth) for g in groups)
        self.path, self.about, self.problems = path, about, [""] * count
        self.wanted = np.ones(count, bool)
        self.rows = np.concatenate([np.full(len(g.truth), g.rows) for g in groups])
        self.values = {
            "kept": np.zeros(count, int),
            "done": np.zeros(count, bool),
            **{n: np.full((count, size), np.nan) for n in ("mean", "sd", "pit")},
            **{n: np.full(count, np.nan) for n in ("density", "joint", "tarp", "log_density")},
        }
        if path is not None and Path(path).exists():
            self._read(path)

    @property
    def done(self) -> np.ndarray:
        """Which datasets are measured."""
        return self.values["done"]

    def _read(self, path: str | Path) -> None:
        expect_kept(path, KIND)
        arrays, about = unpack(path, None)
        if about.get(KIND) != json.loads(json.dumps(self.about[KIND])):
            raise DataError(
                f"checkpoint: {path} keeps another run (of another task, inference, seed or size); "
                "name another file, or delete it"
            )
        self.values = {n: np.array(arrays[f"['{n}']"]) for n in self.values}
        self.problems = list(about["problems"])

    def put(self, own: np.ndarray, answers: Answers, ranks: tuple[np.ndarray, ...]) -> None:
        """Keeps the measurements of the datasets at some places."""
        count = len(own)
        fields = ("mean", "sd", "pit", "density", "joint", "tarp", "log_density")
        for name, value in zip(fields, ranks, strict=True):
            self.values[name][own] = value[:count]
        self.values["kept"][own] = answers.kept[:count]
        for place, problem in zip(own, answers.problems, strict=False):
            self.problems[place] = problem
        self.values["done"][own] = True
        if self.path is not None:
            write(self.path, pack(self.values, {**self.about, "problems": self.problems}))

    def result(self, truth: np.ndarray) -> Measured:
        """All measurements.

        Raises:
            DataError: there are draws of too few datasets.
        """
        values = self.values
        # With two draws there is a sd
        fine = (values["kept"] >= 2) & np.isfinite(values["mean"]).all(1)
        lost = int(np.sum(~fine[values["done"]]))
        if lost > np.sum(values["done"]) / 2:
            worst, count = next(filter(None, self.problems), "no draws"), np.sum(values["done"])
            raise DataError(
                f"calibrate: no draws for {lost} of {count} simulated datasets; the "
                f"first problem: {worst}"
            )
        fields = ("mean", "sd", "pit", "density", "joint", "tarp", "log_density")
        each = [np.asarray(values[n][fine], np.float64) for n in fields]
        measured = Measurements(
            np.asarray(truth[fine], np.float64),
            np.asarray(self.rows[fine], np.float64),
            *each,
            lost=self.rows[values["done"] & ~fine],
        )
        moments = (np.where(fine[:, None], values[n], np.nan) for n in ("mean", "sd"))
        return Measured(measured, self.problems, values["kept"], *moments)
