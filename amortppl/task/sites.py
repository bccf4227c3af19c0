"""What the sites of a model are: observed, latent, tied, of every row; and which of them cannot be
amortized.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.handlers as handlers
from jaxtyping import Array, Float

from amortppl.errors import ModelError, nearest, quoted
from amortppl.task.conditioning import given, only_simulated
from amortppl.task.enumeration import Marginal
from amortppl.task.joint_gaussian import is_joint_gaussian
from amortppl.task.latents import Latents
from amortppl.task.local_latents import one_per_row
from amortppl.task.obs_mask import OBSERVED, twins
from amortppl.task.program import Program
from amortppl.task.tracing import Site, row_axis

Sites = Mapping[str, Site]

PROBE_ROWS = (7, 11)
"""Numbers of rows with which a model is traced to see what grows with its rows."""


class ModelSites:
    """What a model contains, from runs on abstract values with two numbers of rows.

    Discrete latents that the model asks to enumerate are summed out: its program then runs without
    them.

    Attributes:
        rows: the two numbers of rows; one twice where it is fixed.
        first, second: all sites at these.
        observed: the site that each observation feeds.
        twins: for observed sites of which rows are missing (`amortppl.task.obs_mask`), the sites
            that fill these.
        tied: observed sites whose rows are tied to one another.
        sites: latents, then observed sites.
        row_axes: the axis of the rows in the log density of each observed site.
        local, latents: those of which every row has its own, and the others.
        fixed: sites that are observed even when simulating.
        deterministic: those that do not grow with the rows.
    """

    def __init__(self, program: Program, rows: tuple[int, int] | None) -> None:
        low, high = rows or (1, 1)
        self.program, self.name = program, program.name
        self.rows = PROBE_ROWS if low != high else (low, low)
        self.first, self.second = self._traced()
        self._refuse_sites_by_row()
        fed = {a: self._fed_by(a) for a in program.candidates}
        self.observed = {n: n for n in program.by_name} | fed
        targets = set(self.observed.values())
        samples = self._samples(targets)
        latent = {n: s for n, s in samples.items() if n not in targets and not s.observed}
        self.tied = {n for n in targets if self._is_joint(n)}
        self._refuse(samples, latent, targets)
        self.sites = latent | {n: s for n, s in samples.items() if n in targets}
        self.row_axes = {n: self._row_axis(n) for n in targets}
        self._refuse_rows_elsewhere()
        self.local = one_per_row(latent, self.first, self.second, self._row_plates())
        self.latents = _shared({n: s for n, s in latent.items() if n not in self.local})
        self.fixed = [n for n, s in samples.items() if s.observed and n not in targets]
        self.deterministic = self._steady(low if low == high and not program.block else None)

    def _traced(self) -> tuple[dict[str, Site], dict[str, Site]]:
        """All sites at both numbers of rows, without discrete latents that are summed out."""
        program, rows = self.program, self.rows[0]
        first, second = (program.sites(n) for n in self.rows)
        if first.keys() == second.keys() and self.rows == (rows, rows) and not program.block:
            second = self._longer(first, second)
        marked = [
            n for n, s in first.items() if s.enumerated and not self._is_chain(n, first, second)
        ]
        if marked and len(program.candidates) == 1:
            program.model = Marginal(program.model, program.candidates[0])
            program.model.verify(program.kwargs(program.input_rows(jr.key(0), rows), rows))
            first, second = (program.sites(n) for n in self.rows)
        return first, second

    def _longer(self, first: Sites, second: Sites) -> Sites:
        """The sites with one row more where that shows a chain of discrete states, which a fixed
        number of rows hides.
        """
        if not any(s.enumerated for s in first.values()):
            return second
        try:
            longer = self.program.sites(self.rows[0] + 1)
        except ModelError:  # inputs or constants of so many rows
            return second
        if not any(s.enumerated and self._is_chain(n, first, longer) for n, s in first.items()):
            return second
        self.rows = (self.rows[0], self.rows[0] + 1)
        return longer

    def _is_chain(self, name: str, first: Sites, second: Sites) -> bool:
        return name in second and first[name].is_chain(second[name])

    def _refuse_sites_by_row(self) -> None:
        """The sites must be the same whatever the number of rows; deterministic ones that are not
        do not count.

        Raises:
            ModelError: a sample site is there with one number of rows alone.
        """
        both = (self.first, self.second)
        alone = set(self.first) ^ set(self.second)
        samples = [n for s in both for n in s if n in alone and s[n].kind == "sample"]
        if samples:
            raise ModelError(
                f"{self.name}: the site {quoted(samples[:3])} is there with {self.rows[0]} or "
                f"{self.rows[1]} rows alone, and a model must have the same sites with any number "
                "of rows. Write one site with an axis of rows, in a plate, in place of one site a "
                "row; or give `rows` one fixed number"
            )
        self.first, self.second = ({n: s for n, s in b.items() if n not in alone} for b in both)

    def _samples(self, targets: set[str]) -> dict[str, Site]:
        """The sample sites that count: not those that only a simulation has, nor twins.

        Raises:
            ModelError: a site that the data feed by name is not there.
        """
        samples = {n: s for n, s in self.first.items() if s.kind == "sample"}
        for name in self.program.by_name:
            if name not in samples:
                raise ModelError(
                    f"{self.name}: observed {name!r} is not a site (it has "
                    f"{quoted(samples)}){nearest(name, samples)}"
                )
        rows = self.rows[0]
        self.given = given(self.program, self.first, self.observed, rows)
        absent = only_simulated(self.program, self.first, self.given, sorted(targets), rows)
        both = (self.first, self.second)
        self.first, self.second = ({n: s for n, s in b.items() if n not in absent} for b in both)
        self.twins = twins(targets, self.first)
        left_out = {*absent, *self.twins.values()}
        return {n: s for n, s in samples.items() if n not in left_out}

    def _is_joint(self, name: str) -> bool:
        """Whether an observed site is one Gaussian vector over the rows."""
        if self.program.block:
            return False
        sites = (self.first[name], self.second[name])
        return all(map(is_joint_gaussian, sites, self.rows))

    def _row_plates(self) -> set[str]:
        """The plates that hold the rows of observed sites."""
        if self.program.block:
            return set()
        return {self.first[n].plates.get(axis, "") for n, axis in self.row_axes.items()} - {""}

    def _steady(self, fixed_rows: int | None) -> dict[str, Site]:
        """Deterministic sites that do not grow with the rows.

        Where the number of rows is fixed, nothing can be seen to grow: a first axis of that size
        counts as rows.
        """
        filled = {n.removesuffix(OBSERVED) for n in self.twins}
        steady = {}
        for name, site in self.first.items():
            grows = site.shape != self.second[name].shape or site.shape[:1] == (fixed_rows,)
            if site.kind == "deterministic" and not grows and name not in filled:
                steady[name] = site
        return steady

    def _fed_by(self, argument: str) -> str:
        """The site that an argument feeds: the one whose value is the argument once it is given."""
        program, sites, rows = self.program, self.first, self.rows[0]
        free = [s for s in sites.values() if s.kind == "sample" and not s.observed]
        changed: list[str] = []
        for guess in sorted(free, key=lambda s: s.name != argument):
            fed: list[str] = []

            def run(key: Array, value: Array, fed: list[str] = fed) -> None:
                kwargs = program.kwargs(program.input_rows(key, rows), rows) | {argument: value}
                trace = handlers.trace(handlers.seed(program.model, key)).get_trace(**kwargs)
                seen = {
                    n: s for n, s in trace.items() if s["type"] == "sample" and s["is_observed"]
                }
                changed.extend(n for n in seen if n in sites and not sites[n].observed)
                fed.extend(n for n, s in seen.items() if s["value"] is value)

            try:
                jax.eval_shape(run, jr.key(0), jax.ShapeDtypeStruct(guess.shape, guess.dtype))
            except Exception:
                continue
            if fed:
                return fed[0]
        reason = (
            f"it reaches the site {quoted(dict.fromkeys(changed))} only after a change; pass the "
            f"changed values "
            f"as the argument"
            if changed
            else "no sample site is observed when it is given; pass it as `obs=` of a site"
        )
        raise ModelError(
            f"{self.name}: the argument {argument!r} defaults to None, so it should be an "
            f"observation, but {reason}"
        )

    def _why_not_enumerated(self, discrete: list[Site]) -> str:
        if not any(s.enumerated for s in discrete):
            return ""
        number = len(self.program.candidates)
        return (
            '. What infer={"enumerate": "parallel"} marks is summed out by the engine only where '
            f"one argument with default None is the observation, and here the model has {number}"
        )

    def _refuse(self, samples: dict[str, Site], latent: dict[str, Site], targets: set[str]) -> None:
        free = {n: s for n, s in latent.items() if s.discrete}
        discrete = [n for n in free if not self._is_chain(n, self.first, self.second)]
        if discrete:
            raise ModelError(
                f"{self.name}: the latent {quoted(discrete)} is discrete, and a guide needs "
                f"densities. Sum it out: "
                "with numpyro.distributions.MixtureSameFamily or MixtureGeneral for a label of "
                "each row, or by "
                "jax.scipy.special.logsumexp over its values elsewhere"
                + self._why_not_enumerated([latent[n] for n in discrete])
                + ". Of a simulator without a density, Task.from_simulator integrates out what is "
                "no target, and compare_models chooses between simulators"
            )
        if not targets:
            raise ModelError(
                f"{self.name}: no observed site. Give the model an argument with default None and "
                f"pass it as `obs=` "
                f"(its sample sites are {quoted(samples)}), or name the sites in `observed`"
            )
        if self.tied and self.tied != targets:
            raise ModelError(
                f"{self.name}: the rows of {quoted(self.tied)} are tied to one another by a "
                f"Gaussian over all of them, "
                f"those of {quoted(targets - self.tied)} are not; observe them in models of their "
                f"own"
            )
        if not latent and not self.tied:
            raise ModelError(
                f"{self.name}: no latent site: every sample site is observed ({quoted(targets)}), "
                f"nothing is to be "
                "inferred"
            )

    def _row_axis(self, name: str) -> int:
        if self.program.block or name in self.tied:
            return 0
        site, rows = self.first[name], self.rows[0]
        if rows == self.rows[1]:
            axis = next((i for i, size in enumerate(site.density_shape) if size == rows), None)
        else:
            axis = row_axis(site, self.second[name])
        if axis is None:
            raise ModelError(
                f"{self.name}: the log density of {name!r} (shape {site.density_shape} at {rows} "
                f"rows) has no "
                "axis of rows. Put the site in a plate over the rows, or say rows=None if the data "
                "are one block of "
                "fixed size"
            )
        return axis

    def _refuse_rows_elsewhere(self) -> None:
        """Rows of data are the first axis of every array, so they must be that of each observation.

        Raises:
            ModelError: they are another axis of one.
        """
        if self.program.block:
            return
        for argument, name in self.observed.items():
            shapes = [s[name].shape for s in (self.first, self.second)]
            if any(s[:1] != (n,) for s, n in zip(shapes, self.rows, strict=True)):
                raise ModelError(
                    f"{self.name}: the observation {argument!r} has shape {shapes[0]} at "
                    f"{self.rows[0]} rows, and rows must be its first axis. Give the plate of the "
                    f"rows the leftmost axis of the site {name!r} (dim=-2 of two), or say "
                    "rows=None if the data are one block of fixed size"
                )

    def refuse_factors(self, vector: Float[Array, " P"], data: Mapping[str, Array]) -> None:
        """Sites observed even when simulating must not depend on latents: simulation, as of `data`,
        ignores them.
        """

        def fixed(vector: Array) -> Array:
            trace = self.program.trace_at(jr.key(0), self.latents.unflatten(vector), data)
            return sum(jnp.sum(trace[n]["fn"].log_prob(trace[n]["value"])) for n in self.fixed)

        if bool(jnp.any(jax.grad(fixed)(vector) != 0)):
            raise ModelError(
                f"{self.name}: the site {quoted(self.fixed)} (a numpyro.factor, or an observation "
                f"that no "
                "argument feeds) changes the density of the latents, but tasks simulated from the "
                "model do not follow "
                "it. Make it an argument with default None, or write it as part of the prior. "
                "Where it is the log likelihood of an argument, one number a row, say how that is "
                "simulated: simulate={'y': lambda key, latents, inputs: ...} (docs/factors.md)"
            )


def _shared(sites: dict[str, Site]) -> Latents:
    """The latents that all rows share."""
    shapes = {n: s.shape for n, s in sites.items()}
    return Latents(shapes, {n: s.unconstrained for n, s in sites.items()})
