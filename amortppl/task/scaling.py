"""Rows of any scale -> numbers of order one, by what the simulated rows look like."""

from collections.abc import Mapping
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import ModelError
from amortppl.task.abstract import AbstractTask
from amortppl.task.group_summary import group_columns
from amortppl.task.groups import Layout

SIMULATED_ROWS = 4096


class RowScaler(eqx.Module):
    """arcsinh((v - median) / scale) of every number in a row: near 0 linear, far out logarithmic.

    Counts and heavy tails stay readable and nothing overflows. The median and the scale (half of
    the central 68%) are those of rows simulated from the task. Groups are seen by their columns
    (`amortppl.task.group_summary`).
    """

    names: tuple[str, ...] = eqx.field(static=True)
    median: Float[Array, " F"]
    scale: Float[Array, " F"]
    groups: Layout | None = eqx.field(static=True, default=None)

    @property
    def size(self) -> int:
        """F, the numbers in a row."""
        return self.median.shape[0]

    def __call__(self, data: Mapping[str, Array]) -> Float[Array, "N F"]:
        """Arrays by argument -> (N, F)."""
        return jnp.arcsinh((flat_rows(self.names, data, self.groups) - self.median) / self.scale)


def flat_rows(
    names: tuple[str, ...], data: Mapping[str, Array], groups: Layout | None = None
) -> Float[Array, "N F"]:
    """All arguments of a row side by side; of a group, what is seen of it."""
    data = group_columns(groups, data) if groups else data
    # Of no row too, where -1 would be ambiguous.
    flat = [data[n].reshape(data[n].shape[0], prod(data[n].shape[1:])) for n in names]
    return jnp.concatenate([a.astype(jnp.float32) for a in flat], -1)


class PriorScale(eqx.Module):
    """Centre and scale of the latents' unconstrained vector under the prior."""

    centre: Float[Array, " P"]
    scale: Float[Array, " P"]

    def standardize(self, vector: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """Unconstrained -> prior units."""
        return (vector - self.centre) / self.scale

    def restore(self, standard: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """Prior units -> unconstrained."""
        return self.centre + self.scale * standard


def simulated_scales(task: AbstractTask, key: PRNGKeyArray) -> tuple[PriorScale, RowScaler]:
    """Both scalings, from `SIMULATED_ROWS` tasks of a few rows each.

    Raises:
        ModelError: the task has no latents.
    """
    if not task.latents.size:
        raise ModelError(
            f"{task.name}: it has no latents to infer; methods that predict observations serve it: "
            "'in_context', 'neural_process', 'conditional_neural_process', 'prior_fitted', "
            "'hypernetwork', "
            "'maml', 'meta_sgd', and for classes 'versa' and 'conjugate_head'"
        )
    rows = 1 if task.block else max(task.rows[0], min(8, task.rows[1]))
    names, groups = tuple(task.arguments), task.group_layout

    def simulate(key: PRNGKeyArray) -> tuple[Array, Array]:
        draw = task.learning(key, rows)
        return draw.latents, flat_rows(names, draw.data, groups)

    latents, flat = jax.vmap(simulate)(jr.split(key, SIMULATED_ROWS))
    low, centre, high, _ = central(latents)
    rows = RowScaler(names, *median_and_scale(flat.reshape(-1, flat.shape[-1])), groups)
    return PriorScale(centre, jnp.maximum((high - low) / 2, 1e-3)), rows


def median_and_scale(values: Float[Array, "S F"]) -> tuple[Float[Array, " F"], Float[Array, " F"]]:
    """Median and scale of each column: half of the central 68%, else the deviation, else one."""
    low, median, high, spread = central(values)
    return median, jnp.where(high > low, (high - low) / 2, jnp.where(spread > 0, spread, 1.0))


def central(values: Float[Array, "S F"]) -> tuple[Array, Array, Array, Array]:
    """Ends of the central 68%, with the median between, and the deviation, of each column's finite
    values.
    """
    finite = jnp.isfinite(values)
    ordered = jnp.sort(jnp.where(finite, values, jnp.inf), 0)
    count = jnp.maximum(jnp.sum(finite, 0), 1)
    low, median, high = (
        jnp.take_along_axis(ordered, (count * q).astype(int)[None], 0)[0]
        for q in (0.1587, 0.5, 0.8413)
    )
    return low, median, high, jnp.sqrt(jnp.nanvar(jnp.where(finite, values, jnp.nan), 0))
