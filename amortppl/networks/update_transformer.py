"""Update transformer: state tokens look at one another and at rows, and say how to change.

    h : (state tokens, rows of a mini-batch) -> one vector per state token

The number of state tokens and of rows is free, so that the same weights serve 2 latents or 500 and
mini-batches of any size. Blocks are pre-norm (Xiong et al. 2020, "On layer normalization in the
transformer architecture", arXiv 2002.04745) with root-mean-square norms; the output starts at zero,
so that an untrained update changes nothing.

The loss for mini-batches of several sizes comes from one pass over the rows (Mittal et al. 2025,
"Iterative Amortized Inference", arXiv 2510.11471, Eq. 9): `jax.vmap` over `states` and `mask`
alone. With `rows_see=()` rows are encoded by themselves, and a further mask costs its state tokens
alone.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.networks.mlp import mlp

ROWS, STATES = "rows", "states"
"""What row tokens may look at."""

FLOOR = 1e-6
"""Added to the mean square that a norm divides by."""


def normalize(tokens: Float[Array, "*N E"], gain: Float[Array, " E"]) -> Float[Array, "*N E"]:
    """Root-mean-square norm: gain * h / sqrt(mean(h^2))."""
    return tokens * gain * jax.lax.rsqrt(jnp.mean(tokens**2, -1, keepdims=True) + FLOOR)


def prefix_masks(mask: Bool[Array, " B"], sizes: Float[Array, " M"]) -> Bool[Array, "M B"]:
    """Masks that keep the first `sizes` of the rows that a mask keeps, at least one of any.

    Example:
        >>> prefix_masks(jnp.array([True, True, False]), jnp.array([1.0, 2.0])).tolist()
        [[True, False, False], [True, True, False]]
    """
    return mask & (jnp.cumsum(mask) <= jnp.maximum(sizes, 1)[:, None])


class Block(eqx.Module):
    """Attention, messages along given pairs, and a perceptron, each added to its token.

    A message is linear in what it starts from, sum_j c_ij h_j, so that products with a matrix that
    is known, such as a curvature, need not be learned.
    """

    gains: Float[Array, "2 E"]
    query: Float[Array, "E E"]
    key: Float[Array, "E E"]
    value: Float[Array, "E E"]
    join: Float[Array, "E E"]
    pair_bias: Float[Array, "C H"]
    pair_join: Float[Array, "C E E"]
    edge_join: Float[Array, "2 D E E"]
    up: eqx.nn.Linear
    down: eqx.nn.Linear
    heads: int = eqx.field(static=True)

    def __init__(self, width: int, heads: int, pairs: int, edges: int, key: PRNGKeyArray) -> None:
        keys = jr.split(key, 8)
        draw = lambda k, scale, *many: scale * jr.normal(k, (*many, width, width)) / width**0.5  # noqa: E731
        self.gains, self.heads = jnp.ones((2, width)), heads
        self.query, self.key, self.value = (draw(k, 1.0) for k in keys[:3])
        self.join = draw(keys[3], 0.5)
        self.pair_bias, self.pair_join = jnp.zeros((pairs, heads)), draw(keys[4], 0.5, pairs)
        self.edge_join = draw(keys[5], 0.5, 2, edges)
        self.up = eqx.nn.Linear(width, 2 * width, key=keys[6])
        self.down = eqx.nn.Linear(2 * width, width, key=keys[7])

    def look(
        self,
        tokens: Float[Array, "N E"],
        context: Float[Array, "M E"],
        seen: Bool[Array, "N M"],
        near: Float[Array, "H N M"] | float = 0.0,
    ) -> Float[Array, "N E"]:
        """What tokens read of the context, `near` added to the scores of attention."""
        at, among = (normalize(t, self.gains[0]) for t in (tokens, context))
        split = lambda t: t.reshape(t.shape[0], self.heads, -1)  # noqa: E731
        query, key, value = (
            split(at @ self.query),
            split(among @ self.key),
            split(among @ self.value),
        )
        scores = jnp.einsum("nhd,mhd->hnm", query, key) / np.sqrt(query.shape[-1]) + near
        weights = jax.nn.softmax(jnp.where(seen, scores, -1e9), -1)
        return jnp.einsum("hnm,mhd->nhd", weights, value).reshape(tokens.shape) @ self.join

    def send(
        self,
        tokens: Float[Array, "M E"],
        weights: Float[Array, "N M C"],
        join: Float[Array, "C E E"],
    ) -> Float[Array, "N E"]:
        """Messages of tokens: sum_j sum_c c_ijc h_j J_c."""
        sums = jnp.einsum("nmc,me->nce", weights, normalize(tokens, self.gains[0]))
        return jnp.einsum("nce,cef->nf", sums, join)

    def think(self, tokens: Float[Array, "N E"]) -> Float[Array, "N E"]:
        """Tokens after the perceptron, each by itself."""
        hidden = jax.nn.gelu(jax.vmap(self.up)(normalize(tokens, self.gains[1])))
        return tokens + jax.vmap(self.down)(hidden)


class UpdateTransformer(eqx.Module):
    """State tokens (S, F) and rows (B, R) of a mini-batch -> an answer to each state token, (S, O).

    Example:
        >>> net = UpdateTransformer(states=3, rows=5, outputs=2, key=jax.random.key(0))
        >>> net(jnp.ones((4, 3)), jnp.ones((7, 5)), jnp.ones(7, bool)).shape
        (4, 2)

    Attributes:
        states_mix: whether state tokens look at one another: latents do, queries must not.
        rows_see: what row tokens look at: `ROWS` (cost B^2), `STATES` (only where states mix),
            both or nothing.
    """

    embed_row: eqx.nn.MLP
    embed_state: eqx.nn.MLP
    always: Float[Array, "1 E"]
    blocks: list[Block]
    gain: Float[Array, " E"]
    out: Float[Array, "E O"]
    bias: Float[Array, " O"]
    states_mix: bool = eqx.field(static=True)
    rows_see: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        states: int,
        rows: int,
        outputs: int,
        key: PRNGKeyArray,
        *,
        width: int = 32,
        layers: int = 2,
        heads: int = 4,
        pairs: int = 0,
        edges: int = 0,
        states_mix: bool = True,
        rows_see: tuple[str, ...] = (ROWS, STATES),
    ) -> None:
        """Draws the weights.

        Args:
            states, rows, outputs: numbers in a state token, in a row, and in the answer to a state
                token.
            width, layers, heads: numbers in a token inside, blocks, heads of attention in each.
            pairs: numbers that are given for each pair of state tokens.
            edges: numbers that are given for each state token and row.
            states_mix, rows_see: see the attributes.
        """
        keys = jr.split(key, layers + 3)
        self.embed_row = mlp(rows, width, width, 1, keys[0])
        self.embed_state = mlp(states, width, width, 1, keys[1])
        self.always = jr.normal(keys[2], (1, width))
        self.blocks = [Block(width, heads, pairs, edges, k) for k in keys[3:]]
        self.gain, self.out, self.bias = (
            jnp.ones(width),
            jnp.zeros((width, outputs)),
            jnp.zeros(outputs),
        )
        self.states_mix, self.rows_see = states_mix, tuple(rows_see)
        if STATES in rows_see and not states_mix:
            raise ValueError(
                "rows_see: rows that look at states would carry one state to another; leave "
                "'states' out"
            )

    @property
    def width(self) -> int:
        """E, the numbers in a token inside."""
        return self.gain.shape[0]

    def __call__(
        self,
        states: Float[Array, "S F"],
        rows: Float[Array, "B R"],
        mask: Bool[Array, " B"],
        **more: Array | None,
    ) -> Float[Array, "S O"]:
        """`head` of `tokens`, whose arguments these are."""
        return self.head(self.tokens(states, rows, mask, **more))

    def head(self, hidden: Float[Array, "S E"]) -> Float[Array, "S O"]:
        """The answers to state tokens: a linear map, zero to begin with."""
        return hidden @ self.out + self.bias

    def tokens(
        self,
        states: Float[Array, "S F"],
        rows: Float[Array, "B R"],
        mask: Bool[Array, " B"],
        codes: Float[Array, "S E"] | None = None,
        pairs: Float[Array, "S S C"] | None = None,
        edges: Float[Array, "S B D"] | None = None,
    ) -> Float[Array, "S E"]:
        """State tokens after all blocks.

        Args:
            states: features of each state token.
            rows: features of each row.
            mask: which rows are there; there may be none.
            codes: added to the embedded state tokens, so that they can be told apart.
            pairs: features of each pair of state tokens (i, j), of order one.
            edges: features of each state token i and row j, zero for rows that are not there;
                messages go both ways.
        """
        state = jax.vmap(self.embed_state)(states) + (0.0 if codes is None else codes)
        row = jax.vmap(self.embed_row)(rows)
        size, count = state.shape[0], row.shape[0]
        own = jnp.ones((size, size), bool) if self.states_mix else jnp.eye(size, dtype=bool)
        seen = jnp.concatenate(
            [own, jnp.broadcast_to(jnp.append(True, mask), (size, count + 1))], 1
        )
        others = jnp.append(True, mask if ROWS in self.rows_see else jnp.zeros_like(mask))
        sight = jnp.append(jnp.full(size, STATES in self.rows_see), others)
        for block in self.blocks:
            context = jnp.concatenate([state, self.always, row])
            if self.rows_see:
                row = row + block.look(row, context, jnp.broadcast_to(sight, (count, *sight.shape)))
            if edges is not None:
                row = row + block.send(state, jnp.swapaxes(edges, 0, 1), block.edge_join[0])
            near, messages = 0.0, 0.0
            if pairs is not None:
                near = jnp.pad(
                    jnp.einsum("ijc,ch->hij", pairs, block.pair_bias),
                    ((0, 0), (0, 0), (0, count + 1)),
                )
                messages = block.send(state, pairs, block.pair_join)
            if edges is not None:
                messages = messages + block.send(row, edges, block.edge_join[1])
            state = state + block.look(state, context, seen, near) + messages
            state, row = block.think(state), block.think(row)
        return normalize(state, self.gain)
