"""Coordinates in which the curved valley of a hierarchical posterior is straight, and equally wide all along.

What lies in plates, d, follows the other latents, g, along a curve, and narrows along it: where d = (effect - location)
/ scale is known from data, it lies about c / scale, as wide as noise / scale. With few data the curve is slight beside
the posterior's width; with many it is what a Gaussian misses most.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.plates import joined, parted
from amortppl.signals import REACH

WIDEST = 5.0
"""Log widths are held within (-WIDEST, WIDEST), beside that at the centre."""

SHARPEST = 0.96
"""tanh of half of how far the exponent goes within `REACH`, at most."""

SLIGHT = 0.01
"""Where precisions ahead and behind differ by less, relative to that at the centre, the width is constant: of an effect
without data they differ by rounding, which a few sds further out e^{r t} makes hundreds of prior sds of."""


class Valley(eqx.Module):
    """v -> u and back: u_g = v_g and, with t = W (v_g - c), g in units of its own marginal's,

        u_d = m(t) + e^{l(t)} (v_d - m(0) - m'(0) t),    l(t) = -1/2 log(1 - a + a e^{r t}),
        m(t) = e^{2 l(t) + r t / 2} (m(0) + n t + 1/2 K[t, t]),

    each for every d, n such that m'(0) is its slope at the centre. The precision of d given g is what the prior says of
    it, 1 - a, and what the data say, a, in proportion to a power of scales; its mode is what the data say, as a root of
    that, divided by the precision. So both are exact for the effects (c - location) / scale of a normal regression as
    location and scale vary; K is for what else there may be.

    Attributes:
        centre: c.
        axes: W.
        mode, moves, bend: m(0), m'(0) and K.
        share, rates: a and r.
        plated: which latents are d; empty where all or none are, and then u = v.
    """

    centre: Float[Array, " G"]
    axes: Float[Array, "G G"]
    mode: Float[Array, " L"]
    moves: Float[Array, "L G"]
    bend: Float[Array, "L G G"]
    share: Float[Array, " L"]
    rates: Float[Array, "L G"]
    plated: tuple[bool, ...] = eqx.field(static=True, default=())

    @classmethod
    def none(cls, plated: tuple[bool, ...] = ()) -> "Valley":
        """u = v."""
        inner, outer = sum(plated), len(plated) - sum(plated)
        g, d, both = jnp.zeros(outer), jnp.zeros(inner), jnp.zeros((inner, outer))
        return cls(g, jnp.zeros((outer, outer)), d, both, both[..., None] * g, d, both, plated)

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
        share, rates = _exponential(jnp.exp(-2.0 * beside), 1.0 - jnp.exp(2.0 * widths[0]))
        reach = REACH * jnp.eye(len(centre))
        exponents, _, slopes = _exponents(jnp.concatenate([reach, -reach]), share, rates)
        lines = moves[1] - modes[1][..., None] * slopes  # slopes of m, below with its exponent left out
        ahead, behind = jnp.split(jnp.nan_to_num(jnp.exp(-exponents)[..., None] * lines), 2)
        bend = jnp.moveaxis(ahead - behind, 0, 2) / (2.0 * REACH)
        bend = (bend + jnp.swapaxes(bend, 1, 2)) / 2
        return cls(centre, axes, modes[0], moves[0], bend, share, rates, plated)

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
        exponents, widths, _ = _exponents(t, self.share, self.rates)
        left = self.moves - self.mode[:, None] * _exponents(0.0 * self.centre, self.share, self.rates)[2]
        curve = self.mode + t @ left.T + 0.5 * jnp.einsum("lgh,...g,...h->...l", self.bend, t, t)
        return self.mode + t @ self.moves.T, jnp.exp(exponents) * curve, widths


def _exponents(
    t: Float[Array, "*S G"], share: Float[Array, " L"], rates: Float[Array, "L G"]
) -> tuple[Float[Array, "*S L"], Float[Array, "*S L"], Float[Array, "*S L G"]]:
    """2 l(t) + r t / 2, l(t), and the first one's slope."""
    exponent = jnp.clip(t @ rates.T, -4.0 * WIDEST, 4.0 * WIDEST)
    widths = jnp.clip(-0.5 * jnp.log1p(share * jnp.expm1(exponent)), -WIDEST, WIDEST)
    data = share * jnp.exp(exponent + 2.0 * widths)  # of the precision there
    return 2.0 * widths + 0.5 * exponent, widths, (0.5 - data)[..., None] * rates


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
