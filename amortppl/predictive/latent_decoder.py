"""Decoder of a task latent z with sds s: begun as a Bayesian regression on features of x.

    along(x) = A [x, 1] + curve(x),    A the identity, then zero, to begin with
    place_c = sum_(j of c) along_j(x) z_j
    log scale_c = log(exp(2 nu_c) + sum_(j of c) (along_j(x) s_j)^2) / 2

Each number c of an observation has its own numbers j of z. To begin with the first of these are the
weights of x and of an intercept, and the others those of random features; this is the predictive
distribution of a linear model with noise exp(nu) and posterior N(z, s^2), so that the spread of z
is learned as a posterior's. A perceptron adds what such a model lacks.

Features that are linear in z: Snoek et al. 2015, "Scalable Bayesian optimization using deep neural
networks", arXiv 1502.05700.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.networks.mlp import mlp
from amortppl.predictive.components import Component
from amortppl.predictive.head import Head, family
from amortppl.predictive.preprocessing import Reader

NOISE = 0.5
"""exp(nu) before training, in units of simulated observations."""

QUICK = 5.0
"""How much faster than other weights the noise is learned."""

FREE = 0.3
"""Size of the features that are random to begin with, before those that are x itself."""


def outputs(component: Component) -> int:
    """Numbers of an observation that have latents of their own: one, or a logit for each class."""
    return component.classes if component.kind == "finite" else 1


class LatentDecoder(eqx.Module):
    """Features of queries given z, for a `Head` that `begin_regression` started.

    Attributes:
        owners: which number of the observation each number of z is for.
        same: how many features are those of the state, the same for every query.
        line, curve: along, the linear map and the perceptron.
        bend: a perceptron of x, the products along_j z_j, their unsettled size, z and what is known
            of the state.
        noise: nu / `QUICK`.
        firm: of each number of the observation the curvature of its log density by its place;
            0 where it is 1 / noise^2.
    """

    owners: tuple[int, ...] = eqx.field(static=True)
    same: int = eqx.field(static=True)
    line: eqx.nn.Linear
    curve: eqx.nn.MLP
    bend: eqx.nn.MLP
    noise: Float[Array, " C"]
    firm: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self, reader: Reader, size: int, context: int, hidden: int, key: PRNGKeyArray
    ) -> None:
        """Draws the weights.

        Args:
            reader: of the task.
            size: numbers in z.
            context: numbers that are known of the state.
            hidden: width of the perceptrons.
            key: draws the weights.
        """
        keys, numbers = jr.split(key, 4), sum(outputs(c) for c in reader.parts)
        self.owners, linear = tuple(j % numbers for j in range(size)), reader.x_size // 2
        weights, free = jnp.zeros((size, linear + 1)), np.zeros(size, bool)
        for c in range(numbers):
            own = np.arange(c, size, numbers)
            free[own[linear + 1 :]] = True
            directions = _directions(len(own), linear + 1, jr.fold_in(keys[0], c))
            weights = weights.at[own].set(directions)
        line = eqx.nn.Linear(reader.x_size, size, key=keys[1])
        whole = jnp.zeros_like(line.weight).at[:, :linear].set(weights[:, :-1])
        self.line = eqx.tree_at(lambda n: (n.weight, n.bias), line, (whole, weights[:, -1]))
        curve, last = mlp(reader.x_size, size, hidden, 1, keys[2]), lambda n: n.layers[-1]
        weight, bias = last(curve).weight, last(curve).bias
        scaled = FREE * free[:, None] * weight, FREE * free * bias
        self.curve = eqx.tree_at(lambda n: (last(n).weight, last(n).bias), curve, scaled)
        self.same = size + context
        seen = reader.x_size + size + numbers + self.same
        self.bend = mlp(seen, hidden, hidden, 2, keys[3])
        self.noise = jnp.full(numbers, jnp.log(NOISE) / QUICK)
        self.firm = tuple(f for c in reader.parts for f in [_firm(c)] * outputs(c))

    @property
    def size(self) -> int:
        """Numbers in the features of a query."""
        return self.noise.shape[0] + len(self.owners) + self.same + int(self.bend.out_size)

    def along(self, x: Float[Array, "N X"]) -> Float[Array, "N Z"]:
        """The features whose weights z are."""
        return jax.vmap(self.line)(x) + jax.vmap(self.curve)(x)

    def curvature(self, x: Float[Array, "N X"], mask: Bool[Array, " N"]) -> Float[Array, " Z"]:
        """What rows add to the precision of each number of z, the others known."""
        fixed = np.asarray(self.firm)
        firm = jnp.where(fixed > 0, fixed, jnp.exp(-2.0 * QUICK * self.noise))
        squares = jnp.sum(jnp.where(mask[:, None], self.along(x) ** 2, 0.0), 0)
        return squares * firm[jnp.asarray(self.owners)]

    def __call__(
        self,
        z: Float[Array, " Z"],
        sd: Float[Array, " Z"] | float,
        context: Float[Array, " K"],
        x: Float[Array, "Q X"],
    ) -> Float[Array, "Q E"]:
        """Features of Q queries; with `sd` zero of the likelihood at z."""
        along = self.along(x)
        own = jnp.arange(self.noise.shape[0]) == jnp.asarray(self.owners)[:, None]
        spread = jnp.exp(2.0 * QUICK * self.noise) + (along * sd) ** 2 @ own
        fitted, unsettled = along * z, 0.5 * jnp.log(spread)
        same = jnp.concatenate([z, context])
        same = jnp.broadcast_to(same, (x.shape[0], *same.shape))
        seen = jnp.concatenate([x, fitted, unsettled, same], -1)
        return jnp.concatenate([jax.vmap(self.bend)(seen), fitted, unsettled, same], -1)


def _firm(component: Component) -> float:
    """Curvature of a log density by a logit at equal classes, by a log level at a count of one."""
    share = 1.0 / outputs(component)
    return {"finite": share * (1.0 - share), "count": 1.0}.get(component.kind, 0.0)


def _directions(size: int, numbers: int, key: PRNGKeyArray) -> Float[Array, "S N"]:
    """Directions of x for the numbers of z: each of its own, or some that are orthonormal."""
    drawn = jnp.eye(size, numbers)
    if size < numbers:
        drawn = jnp.linalg.qr(jr.normal(key, (numbers, size)))[0].T
    return drawn / max(1, min(size, numbers)) ** 0.5


def begin_regression(head: Head, reader: Reader, decoder: LatentDecoder) -> Head:
    """A head that says what the decoder's regression does, its linear maps zero elsewhere.

    A head that begins at zero says nothing of z, and z, never moved, teaches the head nothing.
    """
    first, owners, before = decoder.bend.out_size, np.asarray(decoder.owners), 0
    for i, component in enumerate(reader.parts):
        weight = head.factors[i].straight.weight
        loads, count = np.zeros(weight.shape), outputs(component)
        here = first + np.arange(len(owners))
        if component.kind == "finite":
            loads[:count, here] = owners == before + np.arange(count)[:, None]
        elif component.kind == "count":
            third = family(component).coefficients // 3
            loads[third : 2 * third, here] = owners == before
        else:
            loads[0, here] = owners == before
            loads[1, first + len(owners) + before] = 1.0
        head = eqx.tree_at(lambda h, i=i: h.factors[i].straight.weight, head, jnp.asarray(loads))
        before += count
    return head
