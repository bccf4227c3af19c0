"""A model of rows in groups, run as a model whose rows are the groups.

The data of G groups lie in arrays (G, R, ...), R rows a group, and an array (G, R) says which of
these count. The model itself runs on all G R rows at once, with the index 0, ..., 0, 1, ..., 1, ...
of each row's group. Outside of it, every site with a value for each row has the shape (G, R, ...),
and the log densities of rows that do not count are 0.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Bool
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
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    pytree_data_fields = ("base_dist", "counts")

    def __init__(self, base_dist: dist.Distribution, counts: Bool[Array, "G R"]) -> None:
        self.base_dist, self.counts = base_dist, counts
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
        """Log densities (G, R, ...)."""
        density = by_group(self.base_dist.log_prob(flat(value)), self.counts.shape)
        kept = self.counts.reshape(*self.counts.shape, *[1] * (density.ndim - 2))
        return jnp.where(kept, density, 0.0)


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
    """

    def __init__(self, names: Collection[str], counts: Array, given: list[tuple[Any, Any]]) -> None:
        super().__init__()
        self.names, self.counts, self.given = names, counts, given

    def process_message(self, msg: Any) -> None:
        """Two axes of rows for the distribution, its scale and what is observed."""
        if not self._is_of_rows(msg):
            return
        msg["fn"] = Grouped(msg["fn"], self.counts)
        if msg["value"] is not None:
            same = [whole for own, whole in self.given if own is msg["value"]]
            msg["value"] = same[0] if same else by_group(msg["value"], self.counts.shape)
        if jnp.ndim(msg["scale"] or 0.0) and jnp.shape(msg["scale"])[0] == self.counts.size:
            msg["scale"] = by_group(msg["scale"], self.counts.shape)

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
        counts = given.pop(arguments.index) > 0
        own, pairs = rows_of(given, arguments), []
        for name, value in own.items():
            pairs.append((value, given[name]))
        with RowsByGroup(names, counts, pairs):
            return model(**own, **indices(arguments, counts.shape))

    unknown = (arguments.number, arguments.count)
    parameters = inspect.signature(model).parameters.values()
    kept = [
        p.replace(kind=p.KEYWORD_ONLY)
        for p in parameters
        if p.name not in unknown and p.kind != p.VAR_KEYWORD
    ]
    grouped.__signature__ = inspect.Signature(kept)  # pyright: ignore[reportFunctionMemberAccess]
    return grouped


def rows_of(given: Mapping[str, Any], arguments: Arguments) -> dict[str, Any]:
    """A model's arguments with the rows of all groups one after another."""
    whole = {*arguments.whole, *arguments.constants}
    return {n: v if n in whole or v is None else flat(v) for n, v in given.items()}


def indices(arguments: Arguments, shape: tuple[int, int]) -> dict[str, Any]:
    """The index of each row's group, and the numbers of groups and of rows."""
    groups, rows = shape
    count = {arguments.count: groups * rows} if arguments.count else {}
    index = jnp.repeat(jnp.arange(groups), rows)
    return {arguments.index: index, arguments.number: groups, **count}
