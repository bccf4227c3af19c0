"""Latents that follow one another and take finitely many values: the states of a hidden Markov
model, summed out by the forward algorithm.

    p(y_1..N | theta) = sum_z prod_t exp r_t(z_t-1, z_t),    r_t = log p(z_t, y_t | z_t-1, y_1..t-1)

Row t of the model's log density, r_t, is read off the user's program: since a row looks at its own
state and the one before it, K^2 runs, in which even rows have one state and odd rows another, give
all of them. A message m_t(k) = p(z_t = k | y_1..t) passes from row to row, so that rows behind the
data change nothing. Paths are drawn backwards. Baum, Petrie, Soules and Weiss 1970, "A maximization
technique occurring in the statistical analysis of probabilistic functions of Markov chains";
Hamilton 1989, "A new approach to the economic analysis of nonstationary time series".
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from amortppl.errors import quoted
from amortppl.runtime.compilation import run_once
from amortppl.task.local_latents import Local
from amortppl.task.path_latents import Path
from amortppl.task.tracing import Site

MOST = 64
"""States, at most: of several chains, combinations."""

LEAST = -1e30
"""The log of a probability of zero, whose derivatives are zero."""

Rows = Callable[[Float[Array, "N L"]], Float[Array, " N"]]


class StatePath(Path):
    """Chains of discrete states, in the place of latents that are independent from row to row.

    Attributes:
        states: all combinations of the states of L chains, (K, L).
    """

    rule = "by the forward algorithm"
    rounding = ""
    inexact = (
        "the forward algorithm wants rows that look at no other states than their own and those "
        "one step before, and on these data some do"
    )

    def __init__(self, local: Local) -> None:
        super().__init__(local)
        self.states = self._states()
        self.evaluations = len(self.states) ** 2

    def log_densities(
        self, vector: Float[Array, " P"], data: Mapping[str, Array]
    ) -> tuple[Array, Float[Array, " N"]]:
        """(log prior of theta, log p(y_t | y_1..t-1, theta) of each row)."""
        rows = next(iter(data.values())).shape[0]
        start = jnp.broadcast_to(self.states[0], (rows, self.size))
        return self.joint(vector, data, start)[0], filtered(self._pairs(vector, data))[0]

    def draw(
        self, vector: Float[Array, " P"], data: Mapping[str, Array], key: Array
    ) -> Float[Array, "N L"]:
        """A path drawn from p(z | y, theta)."""
        pairs = self._pairs(vector, data)
        return jnp.asarray(self.states)[draw_states(pairs, filtered(pairs)[1], key)]

    def check(
        self, deterministic: Mapping[str, Site], fixed: Sequence[str], has_density: bool
    ) -> list[str]:
        """Probes whether each row looks at its own states and those before it alone.

        Raises:
            ModelError: it looks further, the states are too many, or some are not discrete.
        """
        names = list(self.sites)
        whole = [n for n, s in self.sites.items() if not s.discrete]
        if whole:
            raise self.error(
                names,
                f"{quoted(whole)} is not discrete, and the path of continuous and discrete states "
                "together has no exact sum",
            )
        if len(self.states) > MOST:
            raise self.error(
                names, f"they have {len(self.states)} states together, and {MOST} are the most"
            )
        if any(bool(run_once(self._looks_further, jr.key(i))) for i in (3, 4)):
            raise self.error(
                names,
                "here a row looks further back than one step of it, or ahead. Write the state so "
                "that each step follows from the one before (one state for each pair), in a scan",
            )
        return [n for n in deterministic if n not in fixed and self._moves(n)]

    def _states(self) -> np.ndarray:
        inputs = self.density.program.input_rows(jr.key(0), self.rows)
        trace = self.density.program.trace(jr.key(0), inputs, self.rows)
        chains = [n for n, s in sorted(self.sites.items()) if s.discrete]
        each = [
            np.unique(np.asarray(trace[n]["fn"].enumerate_support(expand=False)))
            for n in chains
            for _ in range(int(np.prod(self.shapes[n])))
        ]
        return (
            np.stack(np.meshgrid(*each, indexing="ij"), -1)
            .reshape(-1, len(each))
            .astype(np.float32)
        )

    def _pairs(self, vector: Array, data: Mapping[str, Array]) -> Float[Array, "N K K"]:
        return pairs(lambda z: self.joint(vector, data, z)[1], self.states, self.count(data))

    @staticmethod
    def count(data: Mapping[str, Array]) -> int:
        """N, the rows of data."""
        return next(iter(data.values())).shape[0]

    def _looks_further(self, key: Array) -> Array:
        """Whether the density of a row changes with a state that is not its own or the one before,
        at random states.
        """
        keys = jr.split(key, 3)
        vector = jr.normal(keys[0], (self.density.latents.size,)) / 2
        data, states = self._simulated(keys[1]), jnp.asarray(self.states)
        chosen = jr.randint(keys[2], (2, self.rows), 0, len(states))
        path, other = states[chosen[0]], states[chosen[1]]
        place = np.arange(self.rows)
        changed = jnp.where((place[:, None] == place)[:, :, None], other, path)
        rows = jax.vmap(lambda z: self.joint(vector, data, z)[1])(changed)
        moved = jnp.abs(rows - self.joint(vector, data, path)[1])
        far = (place - place[:, None] < 0) | (place - place[:, None] > 1)
        return jnp.any(far & (jnp.nan_to_num(moved) > 1e-4 * (1 + jnp.abs(rows))))

    def _ends(self) -> Float[Array, "2 N L"]:
        states = jnp.asarray(self.states, jnp.float32)[jnp.array([0, -1])]
        return jnp.broadcast_to(states[:, None], (2, self.rows, self.size))


def pairs(rows: Rows, states: np.ndarray, count: int) -> Float[Array, "N K K"]:
    """r_t(z_t-1, z_t) of all rows t and all pairs of states.

    >>> def rows(z):  # r_t = 10 z_t-1 + z_t
    ...     return 10 * jnp.concatenate([jnp.zeros(1), z[:-1, 0]]) + z[:, 0]
    >>> pairs(rows, np.arange(2.0)[:, None], 3)[1].tolist()
    [[0.0, 1.0], [10.0, 11.0]]
    """
    odd, each = np.arange(count)[:, None] % 2 == 1, jnp.asarray(states)

    def run(even: Array, uneven: Array) -> Array:
        return rows(jnp.where(odd, uneven, even))

    table = jax.vmap(lambda i: jax.vmap(lambda j: run(i, j))(each))(each)
    table = jnp.where(odd[:, 0], table, jnp.swapaxes(table, 0, 1))
    finite = jnp.where(jnp.isnan(table), LEAST, jnp.maximum(table, LEAST))
    return jnp.moveaxis(finite, 2, 0)


def filtered(table: Float[Array, "N K K"]) -> tuple[Float[Array, " N"], Float[Array, "N K"]]:
    """log p(y_t | y_1..t-1) and log p(z_t | y_1..t) of each row; before the first, any will do."""

    def step(before: Array, row: Array) -> tuple[Array, tuple[Array, Array]]:
        own = logsumexp(before[:, None] + row, 0)
        total = logsumexp(own)
        return own - total, (total, own - total)

    size = table.shape[1]
    return jax.lax.scan(step, jnp.full(size, -jnp.log(1.0 * size)), table)[1]


def draw_states(table: Float[Array, "N K K"], messages: Float[Array, "N K"], key: Array) -> Array:
    """The numbers of the states of a path, (N,), from the last row back to the first."""
    keys = jr.split(key, table.shape[0])
    last = jr.categorical(keys[-1], messages[-1])

    def step(after: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        message, row, own = at
        chosen = jr.categorical(own, message + row[:, after])
        return chosen, chosen

    each = (messages[:-1], table[1:], keys[:-1])
    path = jax.lax.scan(step, last, each, reverse=True)[1]
    return jnp.append(path, last)
