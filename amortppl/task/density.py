"""The densities of a model's sites on data, given its latents."""

from collections.abc import Collection, Mapping

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from amortppl.task.latents import Latents
from amortppl.task.obs_mask import blanked
from amortppl.task.program import Program, log_density, log_jacobian, unconstrain
from amortppl.task.tracing import sum_by_row


class ConditionalDensity:
    """log p(theta) and log p(y_i, u_i | x_i, theta), with every latent given.

    Attributes:
        program: the model and what feeds its arguments.
        latents: theta, the latents that all rows share.
        observed: the site that each observation feeds.
        tied: observed sites whose rows have a joint Gaussian distribution.
        row_axes: the axis of the rows in the log density of each observed site.
        missing: observed sites of which rows may be missing (`amortppl.task.obs_mask`).
    """

    def __init__(
        self,
        program: Program,
        latents: Latents,
        observed: Mapping[str, str],
        tied: set[str],
        row_axes: Mapping[str, int],
        missing: Collection[str] = (),
    ) -> None:
        self.program, self.latents, self.observed = program, latents, observed
        self.tied, self.row_axes, self.missing = tied, row_axes, missing

    def trace_at(
        self,
        vector: Float[Array, " P"],
        data: Mapping[str, Array],
        local: Mapping[str, Array] | None = None,
    ) -> dict[str, dict]:
        """The sites of one run with latents from an unconstrained vector.

        Local latents come, unconstrained by site, from `local` or else from their prior.
        """
        values = self.latents.unflatten(vector) | dict(local or {})
        return self.program.trace_at(jr.key(0), values, data)

    def vector(self, trace: Mapping[str, dict]) -> Float[Array, " P"]:
        """The unconstrained vector of a run's latents."""
        return self.latents.flatten({n: unconstrain(trace[n]) for n in self.latents.names})

    def observations(self, trace: Mapping[str, dict]) -> dict[str, Array]:
        """The observations of a run, by argument."""
        values = {
            a: blanked(trace[s]) if s in self.missing else trace[s]["value"]
            for a, s in self.observed.items()
        }
        return {a: v[None] for a, v in values.items()} if self.program.block else values

    def joint(
        self,
        vector: Float[Array, " P"],
        data: Mapping[str, Array],
        local: Mapping[str, Array],
        local_axes: Mapping[str, int],
    ) -> tuple[Array, Float[Array, " N"]]:
        """(log prior, log likelihood of each row and prior density of its local latents).

        Args:
            vector: theta, unconstrained.
            data: arrays by argument.
            local: the local latents, unconstrained, by site.
            local_axes: the axis of the rows in the log density of each of these.
        """
        trace = self.trace_at(vector, data, local)
        rows = [self.by_row(n, trace[n]) for n in self.observed.values()]
        own = {n: log_density(trace[n]) + log_jacobian(trace[n], u) for n, u in local.items()}
        rows += [sum_by_row(density, local_axes[n]) for n, density in own.items()]
        return self.prior(trace, vector), sum(rows)

    def prior(self, trace: Mapping[str, dict], vector: Float[Array, " P"]) -> Array:
        """Log prior density of the unconstrained vector, from a run with these latents."""
        sites = self.latents.unflatten(vector).items()
        each = (
            jnp.sum(log_density(trace[n])) + jnp.sum(log_jacobian(trace[n], u)) for n, u in sites
        )
        return sum(each, jnp.zeros(()))

    def by_row(self, name: str, site: dict) -> Float[Array, " N"]:
        """The log density of each row of a traced site; of a block, its sum."""
        density = log_density(site, tied=name in self.tied)
        if self.program.block:
            return jnp.sum(density)[None]
        return sum_by_row(density, self.row_axes[name])
