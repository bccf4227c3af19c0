"""Rows as networks read them: inputs and observations in units of simulated rows."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.networks.products import product_count, products
from amortppl.predictive.components import Component, column, components
from amortppl.task.abstract import AbstractTask
from amortppl.task.scaling import SIMULATED_ROWS, flat_rows, median_and_scale

FAR = 8.0
"""Bound on standardised numbers; beyond it a network reads their arcsinh alone."""


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
        """Inputs in one unit for all numbers of a row, for the pixels of an image."""
        centre, scale = jax.lax.stop_gradient((jnp.mean(self.x_centre), jnp.mean(self.x_scale)))
        return (flat_rows(self.inputs, data) - centre) / scale

    def x(self, data: dict[str, Array]) -> Float[Array, "N X"]:
        """Inputs standardised and bounded, and their arcsinh."""
        return _both(self.linear(data))

    def standard(self, data: dict[str, Array]) -> Float[Array, "N C"]:
        """Components: continuous ones standardised on the real line, discrete ones from zero."""
        return jnp.stack([self._standard(i, column(c, data)) for i, c in enumerate(self.parts)], -1)

    def log_derivative(self, data: dict[str, Array]) -> Float[Array, "N C"]:
        """log |d standard / d y| of every component, zero for discrete ones."""
        columns = [(i, c, column(c, data)) for i, c in enumerate(self.parts)]
        return jnp.stack([self._log_derivative(*each) for each in columns], -1)

    def _log_derivative(self, place: int, component: Component, y: Array) -> Float[Array, " N"]:
        if component.discrete:
            return jnp.zeros_like(y)
        on_line = component.transform.inv(y)
        return -component.transform.log_abs_det_jacobian(on_line, y) - jnp.log(self._scale(place))

    def y(self, standard: Float[Array, "N C"]) -> Float[Array, "N Y"]:
        """Components, from `standard`, as networks read them."""
        return jnp.concatenate([self.one(i, standard[:, i]) for i in range(len(self.parts))], -1)

    def crossed(self, data: dict[str, Array]) -> Float[Array, "N F"]:
        """`x`, and products of its first numbers."""
        straight = jnp.clip(self.linear(data), -FAR, FAR)
        return jnp.concatenate([self.x(data), products(straight)], -1)

    @property
    def crossed_size(self) -> int:
        """Numbers in `crossed`."""
        return self.x_size + product_count(self.x_centre.shape[0])

    def rows(self, data: dict[str, Array]) -> Float[Array, "N R"]:
        """Rows as networks read them: `x`, `y`, and products of their first numbers."""
        x, y = self.x(data), self.y(self.standard(data))
        first = [self.linear(data)] + [y[:, i : i + n] for i, n in self._firsts]
        straight = jnp.clip(jnp.concatenate(first, -1), -FAR, FAR)
        return jnp.concatenate([x, y, products(straight)], -1)

    @property
    def row_size(self) -> int:
        """Numbers in `rows`."""
        firsts = self.x_centre.shape[0] + sum(n for _, n in self._firsts)
        return self.x_size + self.y_size + product_count(firsts)

    @property
    def _firsts(self) -> list[tuple[int, int]]:
        """Where a component begins in `y`, and how many of its numbers are no arcsinh."""
        begins = [sum(self.sizes[:i]) for i in range(len(self.parts))]
        numbers = [
            n if c.kind == "finite" else 1 for n, c in zip(self.sizes, self.parts, strict=True)
        ]
        return list(zip(begins, numbers, strict=True))

    def one(self, place: int, standard: Float[Array, " N"]) -> Float[Array, "N Y"]:
        """One component as networks read it: indicators of a class, or a number and its arcsinh."""
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
        columns: dict[str, list[Array]] = {}
        for i, c in enumerate(self.parts):
            at = standard[:, i]
            y = c.low + at if c.discrete else c.transform(self._centre(i) + self._scale(i) * at)
            columns.setdefault(c.argument, []).append(y)
        flat = {a: jnp.stack(ys, -1) for a, ys in columns.items()}
        return {a: y.reshape(-1, *like[a].shape[1:]).astype(like[a].dtype) for a, y in flat.items()}

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
        data = task.learning(key, rows).data
        x = flat_rows(names, data) if names else jnp.zeros((rows, 0))
        return x, jnp.stack([_on_line(c, column(c, data)) for c in parts], -1)

    x, y = jax.vmap(simulate)(jr.split(key, SIMULATED_ROWS))
    x, y = (a.reshape(a.shape[0] * a.shape[1], a.shape[-1]) for a in (x, y))
    return Reader(names, parts, *median_and_scale(x), *median_and_scale(y))


def _on_line(component: Component, y: Array) -> Array:
    """A component's values on the real line; log(1 + y) of counts."""
    return jnp.log1p(y - component.low) if component.discrete else component.transform.inv(y)


def _both(standard: Float[Array, "N F"]) -> Float[Array, "N F2"]:
    """Numbers, bounded, and their arcsinh."""
    return jnp.concatenate([jnp.clip(standard, -FAR, FAR), jnp.arcsinh(standard)], -1)
