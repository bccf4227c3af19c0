"""Latents of which every row has its own: found in a model, and integrated out of each row's
likelihood.

    log p(y_i | x_i, theta) = log int p(y_i | x_i, theta, u_i) p(u_i | theta) du_i

u_i holds the L unconstrained numbers of row i. What is left is a model of the latents theta that
all rows share, so that whatever learns from rows learns from these. Integrals are those of
`amortppl.task.quadrature`.
"""

import warnings
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from amortppl.errors import ModelError, quoted
from amortppl.runtime.compilation import run_once
from amortppl.task.degree import degrees
from amortppl.task.density import ConditionalDensity
from amortppl.task.quadrature import (
    EXACT,
    FINE,
    NODES,
    ModeAndScale,
    find_modes,
    integral,
    solve_modes,
)
from amortppl.task.tracing import Site, row_axis

Sites = Mapping[str, Site]


class Local:
    """The local latents of a task; false when it has none.

    Attributes:
        sites: sample sites with one value per row.
        shown: these and the deterministic sites with one value per row, which reparameterised
            models have.
        density_axes, unconstrained_axes, axes: the axis of the rows in each site's log density, in
            its unconstrained value and (of all shown) in its value.
        in_turn: whether they follow one another from row to row (`amortppl.task.path_latents`).
        rule: how such a path is integrated out, in words.
        evaluations: densities of a row that this takes at once.
        dear: whether this takes so long that no simulated tasks are looked at beside the data.
        normal: whether they are Gaussian given the latents of all rows, for any data: their log
            density is quadratic (`amortppl.task.degree`), and its integral takes few nodes.
        rounding, inexact: why a path's log likelihood is not the model's, in words: in 32 bits
            alone, and in 64 bits too.
    """

    in_turn = False
    rule, evaluations, dear = "", 1, False
    normal = False
    rounding, inexact = "", ""

    def __init__(
        self, density: ConditionalDensity, names: list[str], first: Sites, second: Sites, rows: int
    ) -> None:
        self.density, self.rows, self.follow = density, rows, False
        self.sites = {n: first[n] for n in names}
        axes_by_space = {
            s: {n: row_axis_of(first[n], second[n], s, rows) for n in names}
            for s in ("density_shape", "unconstrained")
        }
        self.density_axes, self.unconstrained_axes = (
            axes_by_space["density_shape"],
            axes_by_space["unconstrained"],
        )
        steady = {n: s for n, s in first.items() if s.kind == "deterministic" and n in second}
        others = {n: s for n, s in steady.items() if s.shape != second[n].shape}
        axes = {
            n: row_axis_of(s, second[n], "shape", rows) for n, s in (self.sites | others).items()
        }
        self.axes = {n: a for n, a in axes.items() if a is not None}
        self.shown = {n: first[n] for n in self.axes}
        tied = [
            n for n in names if None in (self.density_axes[n], self.unconstrained_axes[n], axes[n])
        ]
        if tied:
            raise self.error(tied, "its prior ties the rows to one another")
        if names and not density.latents.names:
            raise self.error(names, "no other latent is left that the rows share")
        self._joint = jax.jit(self._at)

    def __bool__(self) -> bool:
        return bool(self.sites)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The unconstrained shape of one row of each site."""
        sites = sorted(self.sites.items())
        return {n: _without(s.unconstrained, self.unconstrained_axes[n]) for n, s in sites}

    @property
    def size(self) -> int:
        """L, the unconstrained numbers of a row."""
        return sum(prod(s) for s in self.shapes.values())

    @property
    def nodes(self) -> int:
        """Nodes of a quadrature on each axis of a row's numbers."""
        usual = NODES.get(self.size, FINE)
        return min(EXACT, usual) if self.normal and self.size in NODES else usual

    def unflatten(self, local: Float[Array, "N L"]) -> dict[str, Array]:
        """Unconstrained numbers by row -> values by site."""
        sites, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + prod(shape)
            values = local[:, start:stop].reshape(-1, *shape)
            sites[name] = jnp.moveaxis(values, 0, self.unconstrained_axes[name])
            start = stop
        return sites

    def joint(
        self, vector: Float[Array, " P"], data: Mapping[str, Array], local: Array
    ) -> tuple[Array, Array]:
        """(log prior of theta, log p(y_i, u_i | x_i, theta) in unconstrained space), at u of shape
        (N, L).
        """
        return self._joint(vector, dict(data), local)

    def _at(self, vector: Array, data: dict[str, Array], local: Array) -> tuple[Array, Array]:
        return self.density.joint(vector, data, self.unflatten(local), self.density_axes)

    def find_modes(self, vector: Float[Array, " P"], data: Mapping[str, Array]) -> ModeAndScale:
        """The modes of p(u_i | y_i, x_i, theta) and their curvature; no derivative passes
        through.
        """
        vector, data = stop_gradient((vector, dict(data)))
        rows = next(iter(data.values())).shape[0]
        find = solve_modes if self.normal else find_modes
        return find(
            lambda u: self.joint(vector, data, u)[1], jnp.zeros((rows, self.size), vector.dtype)
        )

    def log_densities(
        self, vector: Float[Array, " P"], data: Mapping[str, Array]
    ) -> tuple[Array, Float[Array, " N"]]:
        """(log prior of theta, log likelihood of each row with its local latents integrated
        out).
        """
        near = self.find_modes(vector, data)
        rows = integral(lambda u: self.joint(vector, data, u)[1], near, self.nodes)
        return self.joint(vector, data, near.mode)[0], rows

    def error(self, names: list[str], reason: str) -> ModelError:
        """The latents `names` cannot be integrated out row by row."""
        return ModelError(
            f"{self.density.program.name}: the latent {quoted(names)} has one value per row, so "
            f"its size changes with the data. "
            f"The engine integrates such latents out row by row, but {reason}. Integrate it out in "
            f"the model, or fix "
            "the data's size with rows=None (one block)"
        )

    def check(
        self, deterministic: Mapping[str, Site], fixed: Sequence[str], has_density: bool
    ) -> list[str]:
        """Probes what the local latents of one row change.

        Args:
            deterministic, fixed: deterministic sites, and sites that are always observed.
            has_density: whether the observed sites have a log density.

        Returns:
            The deterministic sites without an axis of rows that they change.

        Raises:
            ModelError: they change the density of another row (a time series), or of a latent of
                all rows.

        Warns:
            UserWarning: a row has more local numbers than a product rule can serve.
        """
        probe = (deterministic, fixed, has_density)
        changed = run_once(jax.vmap(lambda key: self._changed(key, *probe)), jr.split(jr.key(0), 2))
        affected = {n for n, c in changed.items() if bool(jnp.any(c))}
        names = list(self.sites)
        self.follow = "rows" in affected
        if self.follow:
            raise self.error(names, "here the value of one row changes the density of other rows")
        if "prior" in affected:
            raise self.error(
                names, f"here the prior of {quoted(self.density.latents.names)} depends on it"
            )
        if affected & set(fixed):
            factors = quoted(affected & set(fixed))
            raise self.error(
                names,
                f"here it changes the site {factors} (a factor), which simulations do not follow",
            )
        self.normal = has_density and self._is_quadratic()
        if self.size > max(NODES) and not self.normal:
            warnings.warn(
                f"{self.density.program.name}: {self.size} local latents in a row "
                f"({quoted(self.sites)}) are integrated out by "
                "Laplace's approximation, corrected axis by axis; up to three would be by product "
                "quadrature",
                stacklevel=3,
            )
        return [n for n in deterministic if n in affected]

    def _is_quadratic(self) -> bool:
        data = jax.eval_shape(self._feasible, jr.key(0))
        vector = jax.ShapeDtypeStruct((self.density.latents.size,), jnp.float32)
        local = jax.ShapeDtypeStruct((self.rows, self.size), jnp.float32)
        rows = lambda u, vector, data: self._at(vector, data, u)[1]  # noqa: E731
        return degrees(rows, local, vector, data) <= 2

    def _changed(self, key: Array, *probe: Any) -> dict[str, Array]:
        """Whether each quantity changes with the local latents of (in the rows' densities: another)
        row.
        """
        vector, local = (
            jr.normal(key, (self.density.latents.size,)),
            jr.normal(key, (self.rows, self.size)),
        )
        data = self._feasible(key)
        slopes = jax.jacfwd(lambda u: self._probed(vector, data, u, *probe))(local)
        if "rows" in slopes:
            slopes["rows"] = slopes["rows"] * (1 - jnp.eye(self.rows))[:, :, None]
        return {n: jnp.any(jnp.nan_to_num(s) != 0) for n, s in slopes.items()}

    def _feasible(self, key: Array) -> dict[str, Array]:
        """Inputs, and observations in their support; under jit no sampler of theirs is compiled."""
        inputs = self.density.program.input_rows(key, self.rows)
        trace = self.density.program.trace(key, inputs, self.rows)
        sites = {a: trace[s] for a, s in self.density.observed.items()}
        return inputs | {a: s["fn"].support.feasible_like(s["value"]) for a, s in sites.items()}

    def _probed(
        self,
        vector: Array,
        data: dict[str, Array],
        local: Array,
        deterministic: Mapping[str, Site],
        fixed: Sequence[str],
        has_density: bool,
    ) -> dict[str, Array]:
        trace = self.density.trace_at(vector, data, self.unflatten(local))
        values = {n: jnp.asarray(trace[n]["value"], jnp.float32) for n in deterministic}
        values |= {n: jnp.sum(trace[n]["fn"].log_prob(trace[n]["value"])) for n in fixed}
        if has_density:
            values["prior"], values["rows"] = self.joint(vector, data, local)
        return values


def one_per_row(latent: Sites, first: Sites, second: Sites, row_plates: set[str]) -> list[str]:
    """Latents that grow with the rows, or (where their number is fixed) lie in the same plate as
    the observations.
    """
    grow = [n for n in latent if first[n].shape != second[n].shape]
    return grow or [n for n, s in latent.items() if row_plates & set(s.plates.values())]


def row_axis_of(site: Site, other: Site, shape: str, rows: int) -> int | None:
    """The axis of the rows in one of a site's shapes; None when it has none, or one of another
    size.
    """
    here, there = getattr(site, shape), getattr(other, shape)
    axis = (
        row_axis(site, other, shape)
        if here != there
        else next((i for i, n in enumerate(here) if n == rows), None)
    )
    fits = axis is not None and here[axis] == rows and _without(here, axis) == _without(there, axis)
    return axis if fits else None


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]
