"""What a task's model says of latents: densities, values and predictions."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.task.batch import Batch
from amortppl.task.censoring import (
    LIMITS_OF,
    Censoring,
    draw_limits,
    draw_limits_of_groups,
)
from amortppl.task.density import ConditionalDensity
from amortppl.task.latents import Latents
from amortppl.task.local_latents import Local
from amortppl.task.obs_mask import blanked, seen
from amortppl.task.program import Program, log_jacobian
from amortppl.task.tracing import Site
from amortppl.task.windows import NEW, in_windows


class OfLatents:
    """Functions of latents and data. A task without a model has none: its program raises a
    ModelError.

    >>> import amortppl as ap, numpyro, numpyro.distributions as dist
    >>> def times(gone, time=None):
    ...     rate = numpyro.sample("rate", dist.Gamma(2, 2))
    ...     with numpyro.plate("row", gone.shape[0]):
    ...         lasts = dist.RightCensoredDistribution(dist.Exponential(rate), gone)
    ...         numpyro.sample("time", lasts, obs=time)
    >>> task = ap.Task(times, rows=(4, 8), censoring={"gone": dist.Uniform(0, 1)})
    >>> data = {"gone": jnp.zeros(5), "time": jnp.full(5, 2.0)}  # outcomes, before limits
    >>> cut = task.observe(jr.key(0), data)
    >>> bool(cut["gone"].all()), float(cut["time"].max()) < 1
    (True, True)
    >>> sorted(task.replicate(jr.key(1), jnp.zeros(1), {"gone": cut["gone"]}, 5))
    ['gone', 'time']
    >>> sorted(task.described_rows(jr.key(2), 3))
    ['gone', 'limits of gone']
    """

    program: Program
    density: ConditionalDensity
    latents: Latents
    local: Local
    observed: dict[str, str]
    twins: dict[str, str]
    deterministic: dict[str, Site]
    rows: tuple[int, int] | None
    memory: int | None = None
    sequential: bool = False
    censoring: Censoring | None = None

    @property
    def block(self) -> bool:
        """Whether the data are one block of fixed size (seen by the engine as one row)."""
        return self.rows is None

    def input_rows(self, key: PRNGKeyArray, rows: int) -> dict[str, Array]:
        """Rows of every input."""
        return self.program.input_rows(key, rows)

    def described_rows(self, key: PRNGKeyArray, rows: int) -> dict[str, Array]:
        """Rows of every input and, as `limits of NAME`, of what indicators follow from."""
        limits = self.censoring.limits if self.censoring else {}
        drawn = draw_limits(self.program.sources, limits, key, rows) if limits else {}
        named = {LIMITS_OF + n: v for n, v in drawn.items()}
        return self.input_rows(key, rows) | named

    def observe(self, key: PRNGKeyArray, data: dict[str, Array]) -> dict[str, Array]:
        """Simulated rows as they are seen: censored, where the model has them so.

        Args:
            key: that of the inputs, with which limits go.
            data: arrays by argument, with the outcomes themselves.
        """
        if self.censoring is None:
            return data
        rows = next(iter(data.values())).shape[0]
        sources = self.program.sources, self.censoring.limits
        if self.grouping:
            places = data[self.grouping.name].shape[1], self.grouping.rows[1]
            limits = draw_limits_of_groups(*sources, key, rows, *places)
        else:
            limits = draw_limits(*sources, key, rows)
        return data | self.censoring.observe(data, limits, self.observed)

    def trace_at(
        self,
        vector: Float[Array, " P"],
        data: Mapping[str, Array],
        local: Mapping[str, Array] | None = None,
    ) -> dict[str, dict]:
        """The sites of one run with latents from an unconstrained vector.

        Local latents come, unconstrained by site, from `local` or else from their prior.
        """
        return self.density.trace_at(vector, data, local)

    def unseen(self, data: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
        """For each observation of which a model leaves out rows, which of its values count, and
        the values with the others replaced.
        """
        trace = self.trace_at(jnp.zeros(self.latents.size), data)
        of_rows = {a: trace[s] for a, s in self.observed.items() if s in self.twins}
        pairs = {a: (seen(site), blanked(site)) for a, site in of_rows.items()}
        return jax.tree.map(lambda v: v[None], pairs) if self.block else pairs

    def log_densities(
        self, vector: Float[Array, " P"], data: Mapping[str, Array]
    ) -> tuple[Array, Float[Array, " N"]]:
        """(log prior in unconstrained space, log likelihood of each row).

            log p(theta(u)) + log |d theta / d u|,    log p(y_i | x_i, theta(u)),  i = 1..N

        Args:
            vector: u, the latents' unconstrained vector.
            data: arrays by argument; for a block each with a leading axis of 1, and N = 1.
        """
        if self.local:
            return self.local.log_densities(vector, data)
        if self.memory is not None and self.sequential:
            rows = next(iter(data.values())).shape[0]
            if rows > 2 * max(NEW, 2 * self.memory):
                return in_windows(self._joint, self.memory, vector, data)
        return self._joint(vector, data)

    def _joint(self, vector: Array, data: Mapping[str, Array]) -> tuple[Array, Float[Array, " N"]]:
        return self.density.joint(vector, data, {}, {})

    def log_prior(self, vector: Float[Array, " P"]) -> Array:
        """Log prior density of the unconstrained vector. The model runs on inputs drawn from the
        task's own.
        """
        rows = (self.rows or (1, 1))[0]
        trace = self.program.trace_at(
            jr.key(0), self.latents.unflatten(vector), self.input_rows(jr.key(0), rows), rows
        )
        return self.density.prior(trace, vector)

    def log_likelihood(self, vector: Float[Array, " P"], batch: Batch) -> Array:
        """Log likelihood of the rows that the mask keeps."""
        return jnp.sum(jnp.where(batch.mask, self.log_densities(vector, batch.data)[1], 0.0))

    def log_joint(self, vector: Float[Array, " P"], batch: Batch) -> Array:
        """Log prior plus masked log likelihood, in unconstrained space, in one run of the model."""
        prior, rows = self.log_densities(vector, batch.data)
        return prior + jnp.sum(jnp.where(batch.mask, rows, 0.0))

    def constrain(self, vector: Float[Array, " P"], data: Mapping[str, Array]) -> dict[str, Array]:
        """Unconstrained vector -> latents, and deterministic sites that do not grow with the
        rows.
        """
        trace = self.trace_at(vector, data)
        return {n: trace[n]["value"] for n in (*self.latents.names, *self.deterministic)}

    def sites_at(
        self, vector: Float[Array, " P"], data: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Latents by name, and each one's log |d theta / d u| summed over its entries."""
        trace, sites = self.trace_at(vector, data), self.latents.unflatten(vector)
        return {n: trace[n]["value"] for n in sites}, {
            n: jnp.sum(log_jacobian(trace[n], u)) for n, u in sites.items()
        }

    def unconstrain(
        self, values: Mapping[str, Array], data: Mapping[str, Array]
    ) -> Float[Array, " P"]:
        """Latents by name -> unconstrained vector, each through its own support."""
        return self.density.vector(
            self.program.trace(jr.key(0), data, place=lambda site: values.get(site["name"]))
        )

    def predict(
        self, key: PRNGKeyArray, vector: Float[Array, " P"], inputs: Mapping[str, Array], rows: int
    ) -> dict:
        """Draws the observations of `rows` rows of inputs given the latents."""
        return self.density.observations(
            self.program.trace_at(key, self.latents.unflatten(vector), inputs, rows)
        )

    def replicate(
        self, key: PRNGKeyArray, vector: Float[Array, " P"], inputs: Mapping[str, Array], rows: int
    ) -> dict:
        """As `predict`, and censored by limits of their own: what changes of the data, indicators
        among it.
        """
        drawn = self.predict(key, vector, inputs, rows)
        if self.censoring is None:
            return drawn
        seen = self.observe(jr.fold_in(key, 1), dict(inputs) | drawn)
        return {n: seen[n] for n in (*drawn, *self.censoring.indicators)}
