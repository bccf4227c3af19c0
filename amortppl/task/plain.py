"""The user's model as it is, and what NumPyro itself says of its log density.

Whoever judges an answer shares nothing with the program that made it: here are no padding, no
mini-batches, no cast beyond JAX's own, and none of the engine's densities. Everything is asked of
`numpyro.infer.util`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpyro.handlers as handlers
from jaxtyping import Array
from numpyro.infer.util import compute_log_probs

from amortppl.task.free_numbers import free_numbers

_SEED = 2**31 - 1
"""Of what a model draws beside its latents: not the engine's, so that such a model is found out."""


class Density(NamedTuple):
    """Log densities of one run by site, in the shape that NumPyro gives them.

    Attributes:
        sites: log p of each sample site at its value.
        jacobians: log |d theta / d u| of each latent that was given unconstrained.
        values: of every site, deterministic ones too.
        observed: names of the sites that hold data.
    """

    sites: dict[str, Array]
    jacobians: dict[str, Array]
    values: dict[str, Array]
    observed: tuple[str, ...]

    def total(self, names: Sequence[str]) -> Array:
        """Log density of some sites and the Jacobians of those that are latents."""
        parts = [self.sites[n] for n in names] + [
            self.jacobians[n] for n in names if n in self.jacobians
        ]
        return sum((jnp.sum(p) for p in parts), jnp.zeros(()))


@dataclass(frozen=True)
class Plain:
    """A NumPyro model and how its user would call it.

    Attributes:
        model: as the user wrote it (a Pyro model: as NumPyro runs it).
        constants: arguments that are the same in every dataset.
        count: the argument that is the number of rows, if there is one.
        by_name: sites that data feed by name, not by argument.
        block: whether the data are one block; its arrays then have a leading axis of 1.
    """

    model: Callable[..., Any]
    constants: Mapping[str, Any]
    count: str | None
    by_name: tuple[str, ...]
    block: bool

    def density(
        self,
        latents: Mapping[str, Array],
        data: Mapping[str, Array],
        extra: Mapping[str, Array] | None = None,
    ) -> Density:
        """Log densities at unconstrained latents and data.

        Args:
            latents: unconstrained, by site.
            data: rows by argument.
            extra: values of further sites, as they are.
        """
        model, arguments = self.called(data)
        fixed = handlers.substitute(model, data=dict(extra or {}))
        placed = handlers.substitute(fixed, substitute_fn=lambda site: _placed(site, latents))
        with handlers.block():  # the user's own handlers are to see nothing of this
            sites, trace = compute_log_probs(
                handlers.seed(placed, jr.key(_SEED)), (), arguments, {}, sum_log_prob=False
            )
        jacobians = {n: _jacobian(trace[n], u) for n, u in latents.items()}
        values = {
            n: s["value"] for n, s in trace.items() if s["type"] in ("sample", "deterministic")
        }
        return Density(sites, jacobians, values, tuple(n for n in sites if trace[n]["is_observed"]))

    def called(self, data: Mapping[str, Array]) -> tuple[Callable[..., Any], dict[str, Any]]:
        """The model, conditioned on what is fed by name, and the arguments for the rest."""
        own = {n: v[0] if self.block else v for n, v in data.items()}
        fed = {n: own.pop(n) for n in self.by_name if n in own}
        rows = {self.count: next(iter(data.values())).shape[0]} if self.count else {}
        return (handlers.condition(self.model, data=fed) if fed else self.model), {
            **self.constants,
            **own,
            **rows,
        }


def _jacobian(site: dict, u: Array) -> Array:
    return free_numbers(site["fn"].support).log_abs_det_jacobian(u, site["value"])


def _placed(site: dict, latents: Mapping[str, Array]) -> Array | None:
    is_latent = site["type"] == "sample" and site["name"] in latents
    return free_numbers(site["fn"].support)(latents[site["name"]]) if is_latent else None


def by_row(density: Array, axis: int) -> Array:
    """Sums a log density over all axes but that of the rows."""
    moved = jnp.moveaxis(density, axis, 0)
    return jnp.sum(moved.reshape(moved.shape[0], -1), 1)
