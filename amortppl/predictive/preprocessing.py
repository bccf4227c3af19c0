"""Rows as networks see them: inputs and observations in units of what was simulated."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.predictive.components import Component, column, components
from amortppl.task.abstract import AbstractTask
from amortppl.task.scaling import SIMULATED_ROWS, central, flat_rows

FAR = 8.0
"""Units beyond which a number is read by its logarithm alone."""


class Reader(eqx.Module):
    """Inputs and observations -> numbers of order one.

    Attributes:
        inputs: names of the inputs.
        parts: the components of the observations.
        x_centre, x_scale: of each number of the inputs.
        y_centre, y_scale: of each component: on the real line for a continuous one, log(1 + y) for
            counts.
    """

    inputs: tuple[str, ...] = eqx.field(static=True)
    parts: tuple[Component, ...] = eqx.field(static=True)
    x_centre: Float[Array, " F"]
    x_scale: Float[Array, " F"]
    y_centre: Float[Array, " C"]
    y_scale: Float[Array, " C"]

    @property
    def x_size(self) -> int:
        """Numbers in `x`."""
        return 2 * self.x_centre.shape[0]

    @property
    def y_size(self) -> int:
        """Numbers in `y`."""
        return sum(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """Numbers in `y` of each component."""
        return [c.classes if c.kind == "finite" else 2 for c in self.parts]

    def linear(self, data: dict[str, Array]) -> Float[Array, "N F"]:
        """Inputs standardised."""
        rows = next(iter(data.values())).shape[0]
        if not self.inputs:
            return jnp.zeros((rows, 0))
        centre, scale = jax.lax.stop_gradient((self.x_centre, self.x_scale))
        return (flat_rows(self.inputs, data) - centre) / scale

    def alike(self, data: dict[str, Array]) -> Float[Array, "N F"]:
        """Inputs in one unit for all numbers of a row, as the pixels of an image."""
        centre, scale = jax.lax.stop_gradient((jnp.mean(self.x_centre), jnp.mean(self.x_scale)))
        return (flat_rows(self.inputs, data) - centre) / scale

    def x(self, data: dict[str, Array]) -> Float[Array, "N X"]:
        """Inputs standardised, and their arcsinh."""
        return _both(self.linear(data))

    def standard(self, data: dict[str, Array]) -> Float[Array, "N C"]:
        """Components: standardised on the real line; classes from zero; counts from zero as they
        are.
        """
        return jnp.stack([self._standard(i, column(c, data)) for i, c in enumerate(self.parts)], -1)

    def log_slope(self, data: dict[str, Array]) -> Float[Array, "N C"]:
        """log |d standard / d y| of every component, zero for discrete ones."""
        slopes = []
        for i, c in enumerate(self.parts):
            y = column(c, data)
            if c.discrete:
                slopes.append(jnp.zeros_like(y))
            else:
                on_line = c.transform.inv(y)
                slopes.append(
                    -c.transform.log_abs_det_jacobian(on_line, y) - jnp.log(self._scale(i))
                )
        return jnp.stack(slopes, -1)

    def y(self, standard: Float[Array, "N C"]) -> Float[Array, "N Y"]:
        """Components, from `standard`, as networks see them."""
        return jnp.concatenate([self.one(i, standard[:, i]) for i in range(len(self.parts))], -1)

    def one(self, place: int, standard: Float[Array, " N"]) -> Float[Array, "N Y"]:
        """One component as networks see it: indicators of classes, else the number and its
        arcsinh.
        """
        component = self.parts[place]
        if component.kind == "finite":
            return jax.nn.one_hot(standard.astype(int), component.classes)
        if component.kind == "count":
            standard = (jnp.log1p(standard) - self._centre(place)) / self._scale(place)
        return _both(standard[:, None])

    def typical(self, place: int) -> Array:
        """A typical count of a component."""
        return jnp.maximum(jnp.expm1(self._centre(place)), 0.5)

    def values(
        self, standard: Float[Array, "N C"], like: dict[str, jax.ShapeDtypeStruct]
    ) -> dict[str, Array]:
        """Back from `standard` to arrays by argument."""
        found: dict[str, list[Array]] = {}
        for i, c in enumerate(self.parts):
            at = standard[:, i]
            y = c.low + at if c.discrete else c.transform(self._centre(i) + self._scale(i) * at)
            found.setdefault(c.argument, []).append(y)
        return {
            a: jnp.stack(v, -1).reshape(-1, *like[a].shape[1:]).astype(like[a].dtype) for a, v in found.items()
        }  # fmt: skip

    def _standard(self, place: int, y: Float[Array, " N"]) -> Float[Array, " N"]:
        component = self.parts[place]
        if component.discrete:
            return y - component.low
        return (component.transform.inv(y) - self._centre(place)) / self._scale(place)

    def _centre(self, place: int) -> Array:
        return jax.lax.stop_gradient(self.y_centre[place])

    def _scale(self, place: int) -> Array:
        return jax.lax.stop_gradient(self.y_scale[place])


def reader(task: AbstractTask, key: PRNGKeyArray) -> Reader:
    """A reader for a task, its units those of `SIMULATED_ROWS` simulated tasks.

    Raises:
        ModelError: the task has no rows to predict, or an observation has no family.
    """
    parts, names = components(task), tuple(task.inputs)
    rows = max(task.rows[0], min(4, task.rows[1]))

    def simulate(key: PRNGKeyArray) -> tuple[Array, Array]:
        data = task.simulate(key, rows).data
        x = flat_rows(names, data) if names else jnp.zeros((rows, 0))
        return x, jnp.stack([_on_line(c, column(c, data)) for c in parts], -1)

    x, y = jax.vmap(simulate)(jr.split(key, SIMULATED_ROWS))
    return Reader(names, parts, *_units(x), *_units(y))


def _on_line(component: Component, y: Array) -> Array:
    return jnp.log1p(y - component.low) if component.discrete else component.transform.inv(y)


def _units(values: Float[Array, "T N F"]) -> tuple[Array, Array]:
    """Centre and scale of each column: median, and half of the central 68% or the deviation."""
    flat = values.reshape(values.shape[0] * values.shape[1], values.shape[-1])
    low, median, high, spread = central(flat)
    return median, jnp.where(high > low, (high - low) / 2, jnp.where(spread > 0, spread, 1.0))


def _both(standard: Float[Array, "N F"]) -> Float[Array, "N F2"]:
    return jnp.concatenate([jnp.clip(standard, -FAR, FAR), jnp.arcsinh(standard)], -1)
