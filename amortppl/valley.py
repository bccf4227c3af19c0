"""Coordinates in which the curved valley of a hierarchical posterior is straight, and equally wide all along.

What lies in plates, d, follows the other latents, g, along a curve, and narrows along it: where d = (effect - location)
/ scale is known from data, it lies about c / scale, as wide as noise / scale. With few data the curve is slight beside
the posterior's width; with many it is what a Gaussian misses most.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from amortppl.plates import joined, parted
from amortppl.signals import REACH

WIDEST = 5.0
"""Log widths are held within (-WIDEST, WIDEST), beside that at the centre."""

SHARPEST = 0.96
"""tanh of half of how far the exponent goes within `REACH`, at most."""

SLIGHT = 0.001
"""Where precisions ahead and behind differ by less, relative to that at the centre, the width is constant: of an effect
without data they differ by rounding, which a few sds further out e^{r t} makes hundreds of prior sds of."""

AT_MOST = 3.0
"""Widths of effects themselves are held to so many prior sds, where their scale is large; of standardized ones to one.
"""

NEARER, RIDGE = 0.2, 1e-6
"""The mode has the second form (see `Valley`) where that leaves less than so much of the squares of what the first
leaves; and what is added to its normal equations, relative to their mean: an axis along which nothing varies has none.
"""


class Valley(eqx.Module):
    """v -> u and back: u_g = v_g and, with t = W (v_g - c), g in units of its own marginal's,

        u_d = m(t) + e^{l(t)} (v_d - m(0) - m'(0) t),    l(t) = -1/2 log p(t),    p(t) = 1 - a + a e^{r t},

    each for every d. The precision p of d given g has a part that varies in proportion to a power of scales, its share
    w(t) = a e^{r t} / p(t), and one that does not. For (effect - location) / scale the part that varies is the data's,
    which know the mode as a root of their precision, and the prior's mode is zero:

        m(t) = e^{r t / 2} / p(t) (m(0) + n t + 1/2 K[t, t]),    n such that m'(0) is its slope at the centre.

    For effects themselves it is the prior's, and its mode, the location, and the data's are D_0 + D_1 t apart:

        m(t) = m(0) + m'(0) t + (w(t) - w(0) - w'(0) t) D_0 + (w(t) - w(0)) D_1 t + 1/2 K[t, t].

    So both are exact for a normal regression as location and scale vary; K is for what else there may be.

    Attributes:
        centre: c.
        axes: W.
        mode, moves, bend: m(0), m'(0) and K.
        share, rates: a and r.
        between: whether m has the second form.
        apart: D_0 and D_1.
        plated: which latents are d; empty where all or none are, and then u = v.
    """

    centre: Float[Array, " G"]
    axes: Float[Array, "G G"]
    mode: Float[Array, " L"]
    moves: Float[Array, "L G"]
    bend: Float[Array, "L G G"]
    share: Float[Array, " L"]
    rates: Float[Array, "L G"]
    between: Bool[Array, " L"]
    apart: Float[Array, "L H"]
    plated: tuple[bool, ...] = eqx.field(static=True, default=())

    @classmethod
    def none(cls, plated: tuple[bool, ...] = ()) -> "Valley":
        """u = v."""
        inner, outer = sum(plated), len(plated) - sum(plated)
        g, d, both = jnp.zeros(outer), jnp.zeros(inner), jnp.zeros((inner, outer))
        apart = jnp.zeros(inner, bool), jnp.zeros((inner, 1 + outer))
        return cls(g, jnp.zeros((outer, outer)), d, both, both[..., None] * g, d, both, *apart, plated)

    @classmethod
    def through(
        cls,
        centre: Float[Array, " G"],
        axes: Float[Array, "G G"],
        modes: tuple[Float[Array, " L"], Float[Array, "K L"]],
        moves: tuple[Float[Array, "L G"], Float[Array, "K L G"]],
        widths: tuple[Float[Array, " L"], Float[Array, "K L"]],
        plated: tuple[bool, ...],
    ) -> "Valley":
        """The valley with that curve and those widths.

        Args:
            centre, axes: c and W.
            modes, moves: of d, and their derivatives by t: at the centre, and at `REACH` ahead and behind on each axis.
            widths: log widths of d given g, at the centre and there, in prior units.
        """
        beside = jnp.clip(jnp.nan_to_num(widths[1] - widths[0]), -WIDEST, WIDEST)
        precisions, variance = jnp.exp(-2.0 * beside), jnp.exp(2.0 * widths[0])
        one, two = (_exponential(precisions, 1.0 - variance / most**2) for most in (1.0, AT_MOST))
        at = REACH * jnp.concatenate([jnp.eye(len(centre)), -jnp.eye(len(centre))])
        missed, apart = _second(at, moves, *two)
        missed_by_first, curved = _first(at, modes, moves, *one)
        between = jnp.sum(missed**2, (0, 2)) < NEARER * jnp.sum(missed_by_first**2, (0, 2))
        share, rates = jnp.where(between, two[0], one[0]), jnp.where(between[:, None], two[1], one[1])
        ahead, behind = jnp.split(jnp.nan_to_num(jnp.where(between[:, None], missed, curved)), 2)
        bend = jnp.moveaxis(ahead - behind, 0, 2) / (2.0 * REACH)
        bend = (bend + jnp.swapaxes(bend, 1, 2)) / 2
        return cls(centre, axes, modes[0], moves[0], bend, share, rates, between, jnp.nan_to_num(apart), plated)

    def bent(self, straight: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """v -> u."""
        if not self.plated:
            return straight
        g, d = parted(straight, self.plated)
        line, curve, widths = self._of(g)
        return joined(g, curve + jnp.exp(widths) * (d - line), self.plated)

    def straight(self, bent: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """u -> v."""
        if not self.plated:
            return bent
        g, d = parted(bent, self.plated)
        line, curve, widths = self._of(g)
        return joined(g, line + jnp.exp(-widths) * (d - curve), self.plated)

    def log_slope(self, at: Float[Array, "*S P"]) -> Float[Array, "*S"]:
        """log |det du / dv|, of u or of v: it is one of g."""
        return jnp.sum(self._of(parted(at, self.plated)[0])[2], -1) if self.plated else jnp.zeros(at.shape[:-1])

    def slope(self, at: Float[Array, " P"]) -> Float[Array, "P P"]:
        """du / dv, at v."""
        return jax.jacfwd(self.bent)(at)

    def slope_back(self, at: Float[Array, " P"]) -> Float[Array, "P P"]:
        """dv / du, at v."""
        return jax.jacfwd(self.straight)(self.bent(at))

    def _of(self, g: Float[Array, "*S G"]) -> tuple[Float[Array, "*S L"], ...]:
        """m(0) + m'(0) t, m(t) and l(t)."""
        t = (g - self.centre) @ self.axes.T
        width, root, varying = _parts(t, self.share, self.rates)
        line, bend = self.mode + t @ self.moves.T, 0.5 * jnp.einsum("lgh,...g,...h->...l", self.bend, t, t)
        first = jnp.exp(root) * (self.mode + t @ _straight(self.mode, self.moves, self.share, self.rates).T + bend)
        apart = self.apart[:, 0] + t @ self.apart[:, 1:].T
        rise = self.share * (1.0 - self.share) * (t @ self.rates.T) * self.apart[:, 0]
        second = line + (varying - self.share) * apart - rise + bend
        return line, jnp.where(self.between, second, first), width


def _parts(
    t: Float[Array, "*S G"], share: Float[Array, " L"], rates: Float[Array, "L G"]
) -> tuple[Float[Array, "*S L"], ...]:
    """l(t), log(e^{r t / 2} / p(t)) and w(t)."""
    exponent = jnp.clip(t @ rates.T, -4.0 * WIDEST, 4.0 * WIDEST)
    log_p = jnp.logaddexp(jnp.log1p(-share), jnp.log(share) + exponent)
    return jnp.clip(-0.5 * log_p, -WIDEST, WIDEST), 0.5 * exponent - log_p, share * jnp.exp(exponent - log_p)


def _straight(mode: Array, moves: Array, share: Array, rates: Array) -> Float[Array, "L G"]:
    """n of the first form."""
    return moves - (mode * (0.5 - share))[:, None] * rates


def _first(
    at: Float[Array, "K G"], modes: tuple[Array, Array], moves: tuple[Array, Array], share: Array, rates: Array
) -> tuple[Float[Array, "K L G"], Float[Array, "K L G"]]:
    """Of the first form: what it leaves of the slopes at points where K is zero, and n + K t by them."""
    _, root, varying = _parts(at, share, rates)
    slope, n = (0.5 - varying)[..., None] * rates, _straight(modes[0], moves[0], share, rates)
    line = modes[0] + at @ n.T
    missed = moves[1] - jnp.exp(root)[..., None] * (slope * line[..., None] + n)
    return missed, jnp.exp(-root)[..., None] * (moves[1] - modes[1][..., None] * slope)


def _second(
    at: Float[Array, "K G"], moves: tuple[Array, Array], share: Array, rates: Array
) -> tuple[Float[Array, "K L G"], Float[Array, "L H"]]:
    """Of the second form: what it leaves of the slopes at points where K is zero, and D_0 and D_1 by least squares."""
    varying, size = _parts(at, share, rates)[2], at.shape[1]
    rise = (varying * (1.0 - varying))[..., None] * rates
    of_first = rise - (share * (1.0 - share))[:, None] * rates
    of_more = rise[..., None] * at[:, None, None] + (varying - share)[..., None, None] * jnp.eye(size)
    by, slopes = jnp.concatenate([of_first[..., None], of_more], -1), moves[1] - moves[0]  # (K, L, G, H)
    square, known = jnp.einsum("klgh,klgi->lhi", by, by), jnp.einsum("klgh,klg->lh", by, slopes)
    ridge = RIDGE * jnp.trace(square, axis1=1, axis2=2) / (1 + size) + 1e-9
    apart = jnp.linalg.solve(square + ridge[:, None, None] * jnp.eye(1 + size), known[..., None])[..., 0]
    return slopes - jnp.einsum("klgh,lh->klg", by, apart), apart


def _exponential(
    precisions: Float[Array, "K L"], most_share: Float[Array, " L"]
) -> tuple[Float[Array, " L"], Float[Array, "L G"]]:
    """a and r with 1 - a + a e^{r t} through the precisions ahead and behind on each axis: exactly on the one where
    they differ most, and in how much they differ on the others; r is zero where that is `SLIGHT`. Where data say nearly
    all, what the prior says is lost in rounding there, and widths would grow beyond its own: so a is held to
    `most_share`, or to a half."""
    ahead, behind = jnp.split(precisions, 2)
    apart, more = (ahead - behind).T, (ahead + behind - 2.0).T
    most = jnp.argmax(jnp.abs(apart), 1)[:, None]
    width, rise = (jnp.take_along_axis(a, most, 1)[:, 0] for a in (jnp.abs(apart) + 1e-9, more))
    bent = jnp.clip(rise / width, 0.05, SHARPEST)  # tanh(r REACH / 2)
    share = jnp.minimum(width * (1.0 - bent**2) / (4.0 * bent), jnp.maximum(most_share, 0.5))
    apart = jnp.where(width[:, None] > SLIGHT, apart, 0.0)
    return share, jnp.arcsinh(apart / (2.0 * share[:, None])) / REACH
