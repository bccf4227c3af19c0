"""Features of a query -> a joint distribution of its observations, one component after another.

    p(y | h) = prod_c p(y_c | h, y_1, ..., y_{c-1})

each factor of the family that the component's support decides.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.networks.mlp import mlp
from amortppl.predictive.binned import Bars
from amortppl.predictive.categorical import Categories
from amortppl.predictive.components import Component
from amortppl.predictive.negative_binomial import Counts
from amortppl.predictive.preprocessing import Reader
from amortppl.runtime.batched_map import batched_map

Family = Bars | Categories | Counts

AT_ONCE = 200_000
"""Draws times queries made together: bounds the memory of many draws."""


def family(component: Component) -> Family:
    """The family that a component's support decides."""
    if component.kind == "finite":
        return Categories(component.classes)
    return Counts() if component.kind == "count" else Bars()


class Factor(eqx.Module):
    """Coefficients of one component: a linear map of the features plus a perceptron's
    correction.
    """

    straight: eqx.nn.Linear
    bent: eqx.nn.MLP | None

    def __init__(self, inputs: int, kind: Family, hidden: int, key: PRNGKeyArray) -> None:
        first, second = jr.split(key)
        line = eqx.nn.Linear(inputs, kind.coefficients, key=first)
        line = eqx.tree_at(
            lambda n: (n.weight, n.bias), line, (jnp.zeros_like(line.weight), kind.initial())
        )
        self.straight = line
        start = jnp.zeros(kind.coefficients)
        self.bent = (
            mlp(inputs, kind.coefficients, hidden, 2, second, start=start) if hidden else None
        )

    def __call__(self, features: Float[Array, " E"]) -> Float[Array, " K"]:
        """Features of one query -> coefficients."""
        line = self.straight(features)
        return line if self.bent is None else line + self.bent(features)


class Head(eqx.Module):
    """One factor for each component; `hidden` 0 makes each a linear map of the features."""

    factors: list[Factor]

    def __init__(self, size: int, reader: Reader, hidden: int, key: PRNGKeyArray) -> None:
        keys = jr.split(key, len(reader.parts))
        before = [sum(reader.sizes[:i]) for i in range(len(reader.parts))]
        self.factors = [
            Factor(size + n, family(c), hidden, k)
            for n, c, k in zip(before, reader.parts, keys, strict=True)
        ]

    def log_prob(
        self, reader: Reader, features: Float[Array, "Q E"], standard: Float[Array, "Q C"]
    ) -> Array:
        """Log density (Q,) of the components in the reader's units."""
        total, seen = jnp.zeros(features.shape[0]), features
        for i, factor in enumerate(self.factors):
            density, _ = _bound(reader, i)
            total += jax.vmap(density)(standard[:, i], jax.vmap(factor)(seen))
            seen = jnp.concatenate([seen, reader.one(i, standard[:, i])], -1)
        return total

    def first(self, features: Float[Array, "Q E"]) -> Float[Array, "Q K"]:
        """Coefficients of the first component, which depend on no other: the same for all draws."""
        return jax.vmap(self.factors[0])(features)

    def sample(
        self,
        reader: Reader,
        features: Float[Array, "Q E"],
        first: Float[Array, "Q K"],
        key: PRNGKeyArray,
    ) -> Float[Array, "Q C"]:
        """One draw of every query, in the reader's units."""
        drawn, seen = [], features
        for i, factor in enumerate(self.factors):
            keys = jr.split(jr.fold_in(key, i), features.shape[0])
            drawn.append(
                jax.vmap(_bound(reader, i)[1])(keys, jax.vmap(factor)(seen) if i else first)
            )
            seen = jnp.concatenate([seen, reader.one(i, drawn[-1])], -1)
        return jnp.stack(drawn, -1)


def _bound(reader: Reader, place: int) -> tuple:
    """Log density and sampler of a component's family; counts are in units of a typical one."""
    kind = family(reader.parts[place])
    if isinstance(kind, Counts):
        typical = reader.typical(place)
        return partial(kind.log_prob, typical=typical), partial(kind.sample, typical=typical)
    return kind.log_prob, kind.sample


class Predictive(eqx.Module):
    """A joint distribution of the observations at Q queries: a mixture over S equally likely
    features of each.
    """

    head: Head
    reader: Reader
    features: Float[Array, "S Q E"]
    like: dict[str, jax.ShapeDtypeStruct] = eqx.field(static=True)

    def log_prob(self, data: dict[str, Array]) -> Float[Array, " Q"]:
        """Log density of the observations of each query."""
        return logsumexp(self._each(data), 0) - self._members + self._slopes(data)

    def log_joint(self, data: dict[str, Array]) -> Array:
        """Log density of the observations of all queries together, which share one member of the
        mixture.
        """
        return (
            logsumexp(jnp.sum(self._each(data), -1)) - self._members + jnp.sum(self._slopes(data))
        )

    def sample(self, key: PRNGKeyArray, draws: int) -> dict[str, Array]:
        """Draws of the observations by argument, each (draws, Q, ...)."""

        members, queries, _ = self.features.shape
        first = jax.vmap(self.head.first)(self.features)

        def one(key: PRNGKeyArray) -> dict[str, Array]:
            pick, noise = jr.split(key)
            member = jr.randint(pick, (), 0, members) if members > 1 else 0
            drawn = self.head.sample(self.reader, self.features[member], first[member], noise)
            return self.reader.values(drawn, self.like)

        return batched_map(one, jr.split(key, draws), AT_ONCE // queries)

    def _each(self, data: dict[str, Array]) -> Float[Array, "S Q"]:
        standard = self.reader.standard(data)
        return jax.vmap(lambda f: self.head.log_prob(self.reader, f, standard))(self.features)

    def _slopes(self, data: dict[str, Array]) -> Float[Array, " Q"]:
        return jnp.sum(self.reader.log_slope(data), -1)

    @property
    def _members(self) -> float:
        return float(np.log(self.features.shape[0]))
