"""The learned update of a Gaussian: tokens of its latents and of rows in, a move out.

For latents u in prior units with state N(m, S), S^1/2 = A, a mini-batch of B rows after n:

    s = B / (n + B),    g = A' grad f(m),    W = -A' hess f(m) A,    f the mini-batch's log
    likelihood z = sqrt(s) o_1,    diag T = exp(s o_2),    T_ij = s l_i'r_j,    m <- m + A z,  A <-
    A T'^-1

with o, l and r read out of the latents' tokens. Under a Gaussian likelihood the exact move is
z = (I + W)^-1 g of size sqrt(s) and log T of size s, so that the network's output
is of order one
at any depth. With `closed_form` the state first takes the mini-batch's Gaussian site
(`amortppl.evidence.absorb`), and the network's move, of size s and falling with the root of the
rows beyond those trained on, corrects what is not Gaussian in it.
"""

from collections.abc import Sequence
from math import log

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.gaussian.belief import Belief
from amortppl.gaussian.learned_site import GAIN, by_site, site_of
from amortppl.gaussian.update_inputs import FAR, Rows, Shape, clipped, correlation, without_diagonal
from amortppl.networks.latent_codes import LatentCodes
from amortppl.networks.row_binding import RowBinding
from amortppl.networks.update_transformer import UpdateTransformer
from amortppl.task.batch import Batch, next_rows

TRUST = 2
"""Of a latent's answers, the one that says how far the site is trusted."""

RANK = 8
"""Numbers of a token that make correlations with those of another."""

LOG_T, FARTHEST = 6.0, 400.0
"""Largest log T_ii that a step takes, and largest T_ij, about as large."""

LARGEST = 1e12
"""Bound on derivatives, so that their products with a belief's sds do not overflow."""


class LearnedUpdate(eqx.Module):
    """h(theta, B) with theta a `Belief`.

    Attributes:
        start: theta_0: location and log sd of each latent.
        pair: what the tokens of latents i and j say of T_ij: (h_i L)'(h_j R).
        skip, gate: of each signal of a latent, how much of it goes straight into the answer,
            always and as the token says.
        binding: of rows and latents, where no gradient says how they are bound.
    """

    shape: Shape = eqx.field(static=True)
    codes: LatentCodes
    net: UpdateTransformer
    start: Float[Array, "2 P"]
    pair: Float[Array, "2 E R"]
    skip: Float[Array, "O F"]
    gate: Float[Array, "E O F"]
    binding: RowBinding | None

    def __init__(
        self, shape: Shape, key: PRNGKeyArray, width: int, layers: int, heads: int
    ) -> None:
        """Draws the weights."""
        keys = jr.split(key, 4)
        self.shape = shape
        self.codes = LatentCodes(shape.sites, width, keys[0])
        self.net = UpdateTransformer(
            shape.state_numbers,
            shape.row + (shape.edge_numbers and not shape.binds),
            shape.answers,
            keys[1],
            width=width,
            layers=layers,
            heads=heads,
            pairs=shape.pair_numbers,
            edges=shape.edge_numbers,
        )
        size = sum(_numbers(s) for s in shape.sites)
        self.start = jnp.zeros((2, size))
        left = jr.normal(keys[2], (width, RANK)) / width**0.5
        self.pair = jnp.stack([left, jnp.zeros_like(left)])
        signals = shape.signal_numbers
        self.skip = jnp.zeros((shape.answers, signals))
        self.gate = jnp.zeros((width, shape.answers, signals))
        bound = shape.row, shape.edge_numbers
        self.binding = RowBinding(width, *bound, keys[3]) if shape.binds else None

    def trusting(self, power: float) -> "LearnedUpdate":
        """The same with another power of sites where the network says nothing."""
        bias = self.net.bias.at[TRUST].set(-log(power) / GAIN)
        return eqx.tree_at(lambda u: u.net.bias, self, bias)

    def init(self) -> Belief:
        """theta_0: no rows."""
        location, log_sd = self.start
        size, kind = len(location), self.shape.posterior
        spread = {"point": log_sd[:0], "diagonal": log_sd, "full": jnp.diag(jnp.exp(-log_sd))}[kind]
        recent = jnp.zeros((size, 3 * self.shape.history))
        none = jnp.zeros(size)
        return Belief(location, none, spread, jnp.zeros(()), recent, none)

    def __call__(self, state: Belief, batch: Batch, rows: Rows) -> Belief:
        """The state after a mini-batch; one of more than `most` rows is taken as several."""
        most, size = self.shape.most, batch.mask.shape[0]
        if size <= most + (rows.lead or 0):
            return self._take(state, batch, rows)

        def take(state: Belief, start: Array) -> tuple[Belief, None]:
            return self._take(state, next_rows(batch, start, most, most, rows.lead), rows), None

        return jax.lax.scan(take, state, jnp.arange(0, size, most))[0]

    def _take(self, state: Belief, batch: Batch, rows: Rows) -> Belief:
        before, state = state, _settled(state, batch, rows)
        count = jnp.sum(batch.mask).astype(jnp.float32)
        share = count / jnp.maximum(state.rows + count, 1.0)
        edges, site = None, None
        if self.shape.closed_form:
            site, seen, pairs = site_of(state, batch, rows, share)
        else:
            seen, pairs, edges = self._signals(state, batch, rows, share)
        row, mask = rows.tokens(batch), jnp.zeros_like(batch.mask)
        if "data" in self.shape.signals:
            mask = batch.mask
        if self.binding is not None:
            slope, edges = self._bound(state, row, mask, share)
            seen = jnp.concatenate([slope, seen], -1)
        elif edges is not None:
            length = jnp.sqrt(jnp.sum(edges**2, 0) + 1e-12)
            row = jnp.concatenate(
                [row, jnp.arcsinh(length / jnp.sqrt(jnp.maximum(share, 1e-12)))[:, None]], -1
            )
            edges = jnp.where(mask, edges / length, 0.0)[..., None]
        tokens = jnp.concatenate([self._base(state, count), seen, state.recent], -1)
        hidden = self.net.tokens(tokens, row, mask, self.codes(), pairs, edges)
        out = self.net.head(hidden) + jnp.einsum(
            "pf,pof->po", seen, self.skip + jnp.einsum("pe,eof->pof", hidden, self.gate)
        )
        moved, sizes, gain = state, (jnp.sqrt(share), share), 1.0
        if site is not None:
            out, gain = GAIN * out, GAIN
            trust, most = jnp.exp(-jnp.maximum(jnp.mean(out[:, TRUST]), 0.0)), self.shape.depth
            moved, sizes = by_site(state, site, trust, share, most / (state.rows + count))
        below = None
        if state.full:
            left, right = hidden @ self.pair[0], hidden @ self.pair[1]
            below = gain * jnp.clip(left @ right.T, -FARTHEST, FARTHEST)
            below = sizes[1] * below
        after = moved.move(
            sizes[0] * clipped(out[:, 0]), sizes[1] * jnp.clip(out[:, 1], -3.0, LOG_T), below
        )
        first = seen[:, :1] if seen.shape[1] else jnp.zeros_like(out[:, :1])
        recent = jnp.concatenate([first, out[:, :2], state.recent], -1)
        after = after._replace(rows=state.rows + count, recent=recent[:, : state.recent.shape[1]])
        return jax.tree.map(lambda a, b: jnp.where(count > 0, a, b), after, before)

    def _base(self, state: Belief, count: Array) -> Float[Array, "P F"]:
        """Where the state stands, and how many rows it has and gets."""
        log_rows = [
            jnp.log1p(jnp.minimum(n, self.shape.depth)) / 3.0 - 1.0 for n in (state.rows, count)
        ]
        same = jnp.stack(log_rows)
        own = jnp.stack([jnp.clip(state.location, -FAR, FAR), state.log_sd() / 3.0], -1)
        return jnp.concatenate([own, jnp.broadcast_to(same, (own.shape[0], len(same)))], -1)

    def _bound(
        self, state: Belief, row: Float[Array, "B R"], mask: Array, share: Array
    ) -> tuple[Float[Array, "P 3"], Float[Array, "P B D"]]:
        """What the learned gradient of the rows says of each latent, and the learned edges."""
        assert self.binding is not None
        at = stop_gradient(state)
        edges, slopes = self.binding(self.codes(), row, at.location)
        slope = at.whiten_gradient(jnp.sum(jnp.where(mask[:, None], slopes, 0.0), 0))
        tokens = _slope_tokens(slope / jnp.sqrt(jnp.maximum(share, 1e-12)), jnp.sum(mask))
        return jnp.stack(tokens, -1), jnp.where(mask[:, None], edges, 0.0)

    def _signals(
        self, state: Belief, batch: Batch, rows: Rows, share: Array
    ) -> tuple[Float[Array, "P F"], Float[Array, "P P C"] | None, Float[Array, "P B"] | None]:
        """Gradient and curvature of the mini-batch at the state, in units of its sds.

        Returns:
            What they say of each latent, of each pair of latents, and the gradient of each row.
        """
        tokens, pairs, at, edges = [], [], stop_gradient(state), None
        slopes, bend = self._derivatives(at, batch, rows)
        count, g = jnp.sum(batch.mask), jnp.zeros(())
        if slopes is not None:
            each = jax.vmap(at.whiten_gradient)(slopes)
            g = jnp.sum(each, 0) / jnp.sqrt(jnp.maximum(share, 1e-12))
            tokens += _slope_tokens(g, count)
            edges = each.T if self.shape.edge_numbers else None
        if state.full:
            pairs.append(without_diagonal(correlation(at.spread @ at.spread.T)))
        if bend is not None:
            w = at.whiten_curvature(bend)
            own = jnp.maximum(jnp.diag(w), 0.0)
            tokens += [jnp.log1p(own), jnp.log1p(own / jnp.maximum(share, 1e-12))]
            tokens += [] if slopes is None else [clipped(g / (1.0 + own))]
            root = jnp.sqrt(1.0 + own)
            pairs.append(without_diagonal(jnp.clip(w / (root[:, None] * root), -1.0, 1.0)))
        size = state.location.shape[0]
        seen = jnp.stack(tokens, -1) if tokens else jnp.zeros((size, 0))
        return stop_gradient((seen, jnp.stack(pairs, -1) if pairs else None, edges))

    def _derivatives(
        self, at: Belief, batch: Batch, rows: Rows
    ) -> tuple[Array | None, Array | None]:
        """Gradients of the rows (B, P), zero where masked, and the mini-batch's -Hessian."""
        signals = self.shape.signals
        if "gradient" not in signals and "curvature" not in signals:
            return None, None
        assert (
            rows.likelihood is not None
        )  # signals without a likelihood are refused when a method is built
        each = rows.likelihood(batch, at)
        masked = lambda u: jnp.where(batch.mask, each(u), 0.0)  # noqa: E731
        slopes, bend = None, None
        if "gradient" in signals and rows.slopes is not None:
            slopes = jnp.where(batch.mask[:, None], rows.slopes(batch, at), 0.0)
        elif "gradient" in signals and self.shape.edge_numbers:
            slopes = (jax.jacrev if batch.mask.shape[0] < len(at.location) else jax.jacfwd)(masked)(
                at.location
            )
        elif "gradient" in signals:
            slopes = jax.grad(lambda u: jnp.sum(masked(u)))(at.location)[None]
        if "curvature" in signals:
            bend = _bounded(-jax.hessian(lambda u: jnp.sum(masked(u)))(at.location))
        return None if slopes is None else _bounded(slopes), bend


def _slope_tokens(g: Float[Array, " P"], count: Array) -> list[Array]:
    """A gradient at three sizes, since what it is worth depends on the rows."""
    return [jnp.arcsinh(g), clipped(g / jnp.sqrt(1.0 + count)), clipped(g / (1.0 + count))]


def _settled(state: Belief, batch: Batch, rows: Rows) -> Belief:
    """The belief as narrow as the curvature that is known in closed form makes it."""
    if rows.settle is None:
        return state
    log_shrink = 0.5 * jnp.log1p(jnp.exp(2.0 * state.spread) * rows.settle(batch))
    return state.move(jnp.zeros_like(state.location), log_shrink, None)


def _numbers(shape: Sequence[int]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _bounded(derivatives: Array) -> Array:
    return jnp.clip(jnp.nan_to_num(derivatives), -LARGEST, LARGEST)
