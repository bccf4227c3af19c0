"""A model of rows in groups, run as a model whose rows are the groups.

The data of G groups lie in arrays (G, R, ...), R rows a group, and an array (G, R) says which of
these count. The model itself runs on all G R rows at once, with the index 0, ..., 0, 1, ..., 1, ...
of each row's group. Outside of it, every site with a value for each row has the shape (G, R, ...),
and the log densities of rows that do not count are 0.

Where a few groups are much larger than the others, these go on in further lines: the array that
says which rows count then has whole numbers, in line l of a group that begins in line g

    counts[l, r] = 1 + l - g,  or 0 where there is no row.

The model sees the index g there, and the log densities of the line are added to those of line g.
Line l itself is a group without rows, which the engine's mask leaves out.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Int
from numpyro.distributions import constraints
from numpyro.primitives import Messenger


class Arguments(NamedTuple):
    """The arguments of a model of groups.

    Attributes:
        index: the index of each row's group; where the groups are the rows, which rows count.
        number: how many groups there are.
        count: how many rows there are, of a model that asks for it.
        whole: those with one value a group.
        constants: those that are the same in every dataset.
    """

    index: str
    number: str
    count: str | None
    whole: tuple[str, ...]
    constants: tuple[str, ...]


class Grouped(dist.Distribution):
    """A distribution of G R rows as one of G x R; of rows that do not count the log density is 0.

    Args:
        base_dist: with the rows as its first batch axis.
        counts: which rows count, (G, R).
        owner: the line with which the group of each line begins, (G,); None where each has one.
        scale: factors of the log densities, by row, where there are lines to add up.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    pytree_data_fields = ("base_dist", "counts", "owner", "scale")

    def __init__(
        self,
        base_dist: dist.Distribution,
        counts: Bool[Array, "G R"],
        owner: Int[Array, " G"] | None = None,
        scale: Array | None = None,
    ) -> None:
        self.base_dist, self.counts, self.owner, self.scale = base_dist, counts, owner, scale
        shape = (*counts.shape, *base_dist.batch_shape[1:])
        super().__init__(shape, base_dist.event_shape)

    @constraints.dependent_property(is_discrete=None, event_dim=None)
    def support(self) -> Any:
        """That of each row."""
        return self.base_dist.support

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Array:
        """A value for every row, those that do not count too."""
        values = self.base_dist.sample(key, sample_shape)
        lead = len(sample_shape)
        return values.reshape(*sample_shape, *self.counts.shape, *jnp.shape(values)[lead + 1 :])

    def log_prob(self, value: Any) -> Array:
        """Log densities (G, R, ...); those of further lines are added to the first of a group."""
        density = self.by_place(value)
        return density if self.owner is None else _add_lines(density, self.owner)

    def by_place(self, value: Any) -> Array:
        """Log densities of the rows where they lie, (G, R, ...)."""
        density = by_group(self.base_dist.log_prob(flat(value)), self.counts.shape)
        if self.scale is not None:
            density = density * self.scale
        kept = self.counts.reshape(*self.counts.shape, *[1] * (density.ndim - 2))
        return jnp.where(kept, density, 0.0)


def has_further_lines(counts: Any) -> bool:
    """Whether groups have several lines."""
    return np.issubdtype(counts.dtype, np.integer)


def owners(counts: Int[Array, "G R"]) -> Int[Array, " G"]:
    """The line with which the group of each line begins.

    >>> owners(jnp.array([[1, 1], [1, 0], [3, 0]])).tolist()
    [0, 1, 0]
    """
    above = jnp.maximum(jnp.max(counts, 1) - 1, 0)
    return jnp.arange(counts.shape[0]) - above


def add_to_owners(values: Array, owner: Int[Array, " G"]) -> Array:
    """Values of lines (G, ...) added up in the line with which each group begins; 0 elsewhere."""
    return jax.ops.segment_sum(values, owner, owner.shape[0])


def _add_lines(density: Array, owner: Int[Array, " G"]) -> Array:
    first = jnp.arange(owner.shape[0]) == owner
    own = first.reshape(-1, *[1] * (density.ndim - 1))
    below = jnp.where(own[:, 0], 0.0, jnp.sum(density, 1))
    kept = jnp.where(own, density, 0.0)
    total = kept[:, 0] + add_to_owners(below, owner)
    return jnp.concatenate([total[:, None], kept[:, 1:]], 1)


def flat(values: Any) -> Array:
    """(G, R, ...) as (G R, ...)."""
    shape = jnp.shape(values)
    return jnp.reshape(values, (shape[0] * shape[1], *shape[2:]))


def by_group(values: Any, shape: tuple[int, int]) -> Array:
    """(G R, ...) as (G, R, ...)."""
    return jnp.reshape(values, (*shape, *jnp.shape(values)[1:]))


class RowsByGroup(Messenger):
    """Gives the sites of rows their two axes outside of the model, and takes them away inside.

    Args:
        names: the sites with a value for each row.
        counts: which rows count, (G, R).
        given: what the model was given in the place of arrays (G, R, ...), and these.
        owner: the line with which the group of each line begins; None where each has one.
    """

    def __init__(
        self,
        names: Collection[str],
        counts: Array,
        given: list[tuple[Any, Any]],
        owner: Array | None,
    ) -> None:
        super().__init__()
        self.names, self.counts, self.given, self.owner = names, counts, given, owner

    def process_message(self, msg: Any) -> None:
        """Two axes of rows for the distribution, its scale and what is observed."""
        if not self._is_of_rows(msg):
            return
        scale = msg["scale"]
        of_rows = jnp.shape(scale)[:1] == (self.counts.size,) if scale is not None else False
        if of_rows:
            scale = by_group(scale, self.counts.shape)
        inside = of_rows and self.owner is not None
        msg["fn"] = Grouped(msg["fn"], self.counts, self.owner, scale if inside else None)
        msg["scale"] = None if inside else scale
        if msg["value"] is not None:
            same = [whole for own, whole in self.given if own is msg["value"]]
            msg["value"] = same[0] if same else by_group(msg["value"], self.counts.shape)

    def postprocess_message(self, msg: Any) -> None:
        """The value as the model expects it."""
        if self._is_of_rows(msg):
            msg["value"] = flat(msg["value"])

    def _is_of_rows(self, msg: Any) -> bool:
        return msg["type"] == "sample" and msg["name"] in self.names


def run_by_group(
    model: Callable[..., Any], arguments: Arguments, names: Collection[str]
) -> Callable[..., Any]:
    """The model with groups for rows.

    Args:
        model: of rows, with the index of each row's group and the number of groups.
        arguments: what its arguments are.
        names: its sites with a value for each row.
    """

    @functools.wraps(model, updated=())
    def grouped(**given: Any) -> Any:
        index = given.pop(arguments.index)
        owner = owners(index) if has_further_lines(index) else None
        own, pairs = rows_of(given, arguments), []
        for name, value in own.items():
            pairs.append((value, given[name]))
        with RowsByGroup(names, index > 0, pairs, owner):
            return model(**own, **indices(arguments, index.shape, owner))

    unknown = (arguments.number, arguments.count)
    parameters = inspect.signature(model).parameters.values()
    kept = [
        p.replace(kind=p.KEYWORD_ONLY)
        for p in parameters
        if p.name not in unknown and p.kind != p.VAR_KEYWORD
    ]
    grouped.__signature__ = inspect.Signature(kept)  # pyright: ignore[reportFunctionMemberAccess]
    grouped.of_rows = OfRows(model, arguments)  # pyright: ignore[reportFunctionMemberAccess]
    return grouped


class OfRows(NamedTuple):
    """The model of rows behind one of groups, and what its arguments are."""

    model: Callable[..., Any]
    arguments: Arguments


def model_of_rows(model: Callable[..., Any]) -> OfRows | None:
    """What `run_by_group` was given, as where `task.model` is passed on; None for other models."""
    return getattr(model, "of_rows", None)


def rows_of(given: Mapping[str, Any], arguments: Arguments) -> dict[str, Any]:
    """A model's arguments with the rows of all groups one after another."""
    whole = {*arguments.whole, *arguments.constants}
    return {n: v if n in whole or v is None else flat(v) for n, v in given.items()}


def indices(
    arguments: Arguments, shape: tuple[int, int], owner: Array | None = None
) -> dict[str, Any]:
    """The index of each row's group, and the numbers of groups and of rows."""
    groups, rows = shape
    count = {arguments.count: groups * rows} if arguments.count else {}
    index = jnp.repeat(jnp.arange(groups) if owner is None else owner, rows)
    return {arguments.index: index, arguments.number: groups, **count}
