"""A Pyro model's own log density, by torch: is the translation to NumPyro right?

Everything else here asks NumPyro, which sees a Pyro model as it was translated. So site by site the
translated densities are compared with those of Pyro's trace at the same values, as a task is made
and at `infer`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from amortppl.errors import ModelError
from amortppl.runtime.numpy_evaluation import Traced, evaluate
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.parity import Point, simulated

HARMLESS = 0.05
"""Nats by which a site's log density may differ beside rounding."""


class Difference(NamedTuple):
    """A site whose log density is not Pyro's."""

    site: str
    model: float
    translated: float


class Native:
    """A Pyro model beside its translation; false for a NumPyro model.

    Attributes:
        failure: what Pyro said when it could not run the model on numbers; empty where it can.
    """

    def __init__(self, task: AbstractTask) -> None:
        self.task, self.failure = task, ""
        self._programs: dict[Any, Traced] = {}

    def __bool__(self) -> bool:
        return bool(getattr(self.task.plain.model, "from_pyro", False))

    def differences(self, vector: np.ndarray, data: dict[str, np.ndarray]) -> list[Difference]:
        """Sites whose log densities differ, at unconstrained latents (P,) and rows.

        Latents that the engine integrates or sums out have one value each.
        """
        from amortppl.pyro.native import site_densities

        numbers = {n: v.astype(self._type(n)) for n, v in data.items()}
        sums, values = self._program(numbers)(vector.astype(np.float32), numbers)
        model, arguments = self.task.plain.model, self._arguments(numbers)
        try:
            theirs = site_densities(model.pyro, arguments, values)
        except Exception as error:  # whatever a user's model raises
            self.failure = f"{type(error).__name__}: {str(error)[:200]}"
            return []
        zero = (0.0, 0.0)
        differences = []
        for name in sums | theirs:
            value, size = theirs.get(name, zero)
            ours = float(sums.get(name, 0.0))
            rounding = 2.0**-20 * (size + abs(ours))
            if not (abs(value - ours) <= HARMLESS + rounding or value == ours):
                differences.append(Difference(name, value, ours))
        return differences

    def _arguments(self, data: dict[str, np.ndarray]) -> dict[str, Any]:
        plain = self.task.plain
        own = {n: v[0] if plain.block else v for n, v in data.items() if n not in plain.by_name}
        rows = {plain.count: len(next(iter(data.values())))} if plain.count else {}
        return {**plain.constants, **own, **rows}

    def _program(self, data: dict[str, np.ndarray]) -> Traced:
        rows = len(next(iter(data.values())))
        if rows not in self._programs:
            like = jax.ShapeDtypeStruct((self.task.latents.size,), jnp.float32)
            self._programs[rows] = Traced(self._translated, like, data)
        return self._programs[rows]

    def _translated(self, vector: Any, data: dict[str, Any]) -> tuple[dict, dict]:
        """Sums of the translated log densities by site, and the values of all sample sites."""
        densities = self.task.plain.density(self.task.latents.unflatten(vector), data)
        sums = {n: jnp.sum(v) for n, v in densities.sites.items()}
        return sums, {n: densities.values[n] for n in densities.sites}

    def _type(self, name: str) -> np.dtype:
        kind = np.dtype(self.task.rows_like[name].dtype)
        return np.dtype(np.float32) if kind.kind == "b" else kind


def check_native(task: AbstractTask) -> None:
    """Compares a translated model with Pyro's own at a simulated dataset.

    Raises:
        ModelError: they differ; naming the site.
    """
    if not task.native:
        return
    rows = task.probe_rows[0]
    point: Point = evaluate(lambda k: simulated(task, k, rows), seed_key(17))
    for site, model, translated in task.native.differences(point.vector, point.data)[:1]:
        raise ModelError(
            f"{task.name}: Pyro's own log density of the site {site!r} at simulated data is "
            f"{model:.6g}, that of the model as amortppl runs it is {translated:.6g}. Write the "
            "site another way, or as a NumPyro model; this is a fault of the translation, please "
            "report it"
        )
