"""A task beside its plain model at one simulated dataset: the truth, the engine, and what is compared."""

import importlib
from collections.abc import Mapping
from itertools import product
from typing import Any

import jax.random as jr
import numpy as np
from scipy.special import logsumexp

import amortppl as ap
from amortppl.runtime.numpy_evaluation import evaluate
from random_models.description import RandomModel
from random_models.numpyro_models import Unjudged, as_jax
from random_models.render import inputs_of

TOLERANCE = 1e-4
"""Of a sum of log densities, relative to the sum of their sizes; both sides are float64, but for
primitives that JAX runs and for Pyro, in float32."""


class Silent(Exception):
    """The engine differs from the model, and nobody said so."""


class Case:
    """A task at one simulated dataset.

    Attributes:
        data: rows by argument.
        latents: values of the continuous latents, by site.
    """

    def __init__(
        self, task: ap.Task, module: Any, described: RandomModel, rows: int, seed: int
    ) -> None:
        self.task, self.described, self.model, self.rows = task, described, module.model, rows
        self.language = importlib.import_module(f"random_models.{described.language}_models")
        self.inputs = draw_inputs(described, np.random.default_rng(seed), rows)
        self.fed = {o.site: o for o in described.observations}
        self.drawn = self.language.simulate(self.model, self._arguments(self.inputs, {}), seed)
        observed = {o.data: self._simulated(o) for o in described.observations}
        self.data = {**self.inputs, **observed}
        self.enumerated = self.drawn.enumerated
        values = self.drawn.values
        names = self.drawn.latent - self._fed_sites() - set(self.enumerated)
        self.latents = {n: values[n] for n in names if self._counts(n)}

    def _counts(self, name: str) -> bool:
        """Whether a latent of a simulation is one of the task's, or the task says why not."""
        return name in self.task.latents.names or name in self.task.local.sites

    def _fed_sites(self) -> set[str]:
        names = {self._site(o) for o in self.described.observations}
        return names | {n.removesuffix("_observed") + "_unobserved" for n in names}

    def _site(self, each: Any) -> str:
        name = f"{each.site}_observed" if each.mask == "obs_mask" else each.site
        return f"deep/{name}" if "scope" in self.described.outer else name

    def _simulated(self, each: Any) -> np.ndarray:
        name = self._site(each)
        if name not in self.drawn.values:
            raise Silent(f"the plain model has no site {name!r} when it simulates")
        value = self.drawn.values[name]
        whole = value.dtype.kind in "iub"
        return value.astype(np.float32) if self.described.cast and whole else value

    def _arguments(self, inputs: Mapping[str, Any], observed: Mapping[str, Any]) -> dict[str, Any]:
        by_name = {o.data for o in self.described.observations if o.feed == "condition"}
        size = {} if inputs else {"n": self.rows}
        given = {n: v for n, v in observed.items() if n not in by_name}
        return {**inputs, **size, **given}

    # The truth.

    def truth(self, data: Mapping[str, Any], latents: Mapping[str, Any]) -> tuple[float, float]:
        """(Log prior in unconstrained space of what all rows share, log density of the rows)."""
        each = [self._sites(data, {**latents, **z}) for z in self.configurations()]
        shared = [n for n in self.task.latents.names]
        prior = sum(each[0].sites[n] for n in shared)
        out = self.fixed(each[0])
        totals = [sum(v for n, v in e.sites.items() if n not in out) for e in each]
        self.size = 1.0 + sum(abs(float(v)) for n, v in each[0].sites.items() if n not in out)
        return float(prior), float(logsumexp([float(t) for t in totals])) - float(prior)

    def _sites(self, data: Mapping[str, Any], latents: Mapping[str, Any]) -> Any:
        given, by_name = self.arguments_of(data), self.by_name(data)
        return self.language.log_densities(self.model, given, latents, by_name)

    def by_name(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Rows of the observations that are fed by `condition`, by site."""
        fed = [o for o in self.described.observations if o.feed == "condition"]
        return {self._site(o): data[o.data] for o in fed}

    def arguments_of(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The model's arguments for rows of data."""
        inputs = {n: data[n] for n in self.inputs}
        observed = {n: data[n] for n in data if n not in self.inputs}
        given = self._arguments(inputs, observed)
        rows = len(next(iter(data.values())))
        return {n: rows if n == "n" else v for n, v in given.items()}

    def fixed(self, density: Any) -> set[str]:
        """Sites that hold data even in simulations, and what fills rows that are not seen.

        Raises:
            Silent: a latent is there that the task does not know.
        """
        fed = self._fed_sites()
        fillers = {n for n in density.latent if n.endswith("_unobserved")}
        stray = density.latent - set(self.latents) - set(self.enumerated) - fillers
        if stray:
            raise Silent(f"with data given the model has further latents: {sorted(stray)}")
        data = {n for n in density.sites if n not in density.latent} - {""}
        return (data - fed) | fillers

    def configurations(self) -> list[dict[str, np.ndarray]]:
        """Values of all discrete latents."""
        shapes = {n: self.drawn.values[n] for n in self.enumerated}
        choices = [self.enumerated[n] for n, v in shapes.items() for _ in range(v.size)]
        if np.prod([len(c) for c in choices] or [1]) > 300:
            raise Unjudged("too many configurations of discrete latents")
        assignments = []
        for values in product(*choices):
            rest, each = list(values), {}
            for n, v in shapes.items():
                taken, rest = rest[: v.size], rest[v.size :]
                each[n] = np.array(taken).reshape(v.shape).astype(v.dtype)
            assignments.append(each)
        return assignments

    # The engine.

    def engine(self, data: Mapping[str, Any]) -> tuple[float, np.ndarray]:
        """(Log prior, log density of each row)."""
        given = {n: v[None] if self.task.block else v for n, v in data.items()}
        if self.task.local:
            self.vector = np.asarray(self._vector(given))
            prior, rows = evaluate(self.task.log_densities, self.vector, as_jax(given))
            return float(prior), np.asarray(rows)
        vector = self._vector(given)
        prior, rows = evaluate(self.task.log_densities, vector, as_jax(given))
        return float(prior), np.asarray(rows)

    def _vector(self, given: Mapping[str, Any]) -> Any:
        """The latents' unconstrained vector, checked on its way back."""
        named = {n: self.latents[n] for n in self.task.latents.names}

        def there_and_back(values: Any, rows: Any) -> Any:
            vector = self.task.unconstrain(values, rows)
            return vector, self.task.constrain(vector, rows)

        vector, back = evaluate(there_and_back, as_jax(named), as_jax(given))
        for name, value in named.items():
            if not np.allclose(back[name], value, rtol=1e-3, atol=1e-3):
                raise Silent(f"unconstrained and back, {name!r} is {back[name]}, not {value}")
        return vector

    def equal(self, what: str, engine: float, plain: float) -> None:
        if not (np.isfinite(plain) or np.isfinite(engine)):
            return
        loose = 300.0 if self.task.local else 1.0
        if not abs(engine - plain) <= loose * TOLERANCE * self.size:
            raise Silent(f"{what}: {engine:.7g} by the engine, {plain:.7g} by the plain model")

    # What is compared.

    def whole(self) -> None:
        """All rows, by prior and rows."""
        prior, rows = self.engine(self.data)
        plain_prior, plain_rows = self.truth_of_rows(self.data)
        self.equal(f"log prior at {self.rows} rows", prior, plain_prior)
        self.equal(f"log density of {self.rows} rows", float(rows.sum()), plain_rows)
        self.plain = plain_rows

    def truth_of_rows(self, data: Mapping[str, Any]) -> tuple[float, float]:
        """The truth, with the latents of rows integrated out."""
        if not self.task.local:
            return self.truth(data, self.latents)
        prior, _ = self.truth(data, self.latents)
        return prior, self.language.integrated(self, data)

    def cut(self) -> None:
        """The rows of two mini-batches add up."""
        at = self.rows // 2
        parts = [{n: v[s] for n, v in self.data.items()} for s in (slice(at), slice(at, None))]
        total = sum(float(self.engine(p)[1].sum()) for p in parts)
        self.equal(f"two mini-batches of {self.rows} rows", total, self.plain)

    def turned(self) -> None:
        """Rows in another order."""
        order = np.random.default_rng(3).permutation(self.rows)
        data = {n: v[order] for n, v in self.data.items()}
        self.equal("rows in another order", float(self.engine(data)[1].sum()), self.plain)
        if not self.task.local:
            self.equal(
                "the plain rows in another order", self.plain, self.truth(data, self.latents)[1]
            )

    def factors(self) -> None:
        """What is observed even in simulations says nothing of the latents."""
        other = self.language.simulate(self.model, self._arguments(self.inputs, {}), 77).values
        first = self._sites(self.data, {**self.latents, **self.configurations()[0]})
        out = self.fixed(first) - {n for n in first.latent}
        second = self._sites(
            self.data, {**{n: other[n] for n in self.latents}, **self.configurations()[0]}
        )
        for name in out:
            self.equal(
                f"the fixed site {name!r} at other latents",
                float(first.sites[name]),
                float(second.sites[name]),
            )

    def simulations(self) -> None:
        """The engine's own simulations vary, and have the model's shapes."""

        def simulated(key: Any) -> Any:
            return self.task.simulate(key, 1 if self.task.block else self.rows)

        one, two = (evaluate(simulated, jr.key(k)) for k in (0, 1))
        for place, label in enumerate(self.task.latents.labels()):
            if one.latents[place] == two.latents[place]:
                raise Silent(f"two simulations have the same latent {label!r}")
        for name, value in one.data.items():
            shape = np.shape(self.data[name])
            wanted = (1, *shape) if self.task.block else shape
            if np.shape(value) != wanted:
                raise Silent(f"simulated {name!r} has shape {np.shape(value)}, not {wanted}")


def draw_inputs(described: RandomModel, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Rows of the inputs, drawn without the task."""
    draws = {
        "x": lambda: rng.standard_normal(n).astype(np.float32),
        "v": lambda: rng.standard_normal((n, 2)).astype(np.float32),
        "g": lambda: rng.integers(0, 3, n).astype(np.int32),
        "m": lambda: rng.random(n) < 0.7,
        "w": lambda: (rng.random(n) + 0.5).astype(np.float32),
        "c": lambda: rng.poisson(3.0, n).astype(np.int32),
    }
    return {name: draws[name]() for name in inputs_of(described)}


__all__ = ["Case", "Silent", "Unjudged"]
