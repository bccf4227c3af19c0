"""Coordinates in which the curved funnel of a hierarchical posterior is straight, and equally wide
all along.

What lies in plates, d, follows the other latents, g, along a curve, and narrows along it: where d =
(effect - location) / scale is known from data, it lies about c / scale, as wide as noise / scale.
With few data the curve is slight beside the posterior's width; with many it is what a Gaussian
misses most.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from amortppl.gaussian.plates import join_plates, split_plates

WIDEST = 5.0
"""Log widths are held within (-WIDEST, WIDEST), beside that at the centre."""


class Funnel(eqx.Module):
    """v -> u and back: u_g = v_g and, with t = W (v_g - c), g in units of its own marginal's,

        u_d = m(t) + e^{l(t)} (v_d - m(0) - m'(0) t),    l(t) = -1/2 log p(t),    p(t) = 1 - a + a
        e^{r t},

    each for every d. The precision p of d given g has a part that varies in proportion to a power
    of scales, its share w(t) = a e^{r t} / p(t), and one that does not. For (effect - location) /
    scale the part that varies is the data's, which know the mode as a root of their precision, and
    the prior's mode is zero:

        m(t) = e^{r t / 2} / p(t) (m(0) + n t + 1/2 K[t, t]),    n such that m'(0) is its slope at
        the centre.

    For effects themselves it is the prior's, and its mode, the location, and the data's are D_0 +
    D_1 t apart:

        m(t) = m(0) + m'(0) t + (w(t) - w(0) - w'(0) t) D_0 + (w(t) - w(0)) D_1 t + 1/2 K[t, t].

    So both are exact for a normal regression as location and scale vary; K is for what else there
    may be.

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
    def none(cls, plated: tuple[bool, ...] = ()) -> "Funnel":
        """u = v."""
        inner, outer = sum(plated), len(plated) - sum(plated)
        g, d, both = jnp.zeros(outer), jnp.zeros(inner), jnp.zeros((inner, outer))
        apart = jnp.zeros(inner, bool), jnp.zeros((inner, 1 + outer))
        return cls(
            g, jnp.zeros((outer, outer)), d, both, both[..., None] * g, d, both, *apart, plated
        )

    def forward(self, straight: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """v -> u."""
        if not self.plated:
            return straight
        g, d = split_plates(straight, self.plated)
        line, curve, widths = self._of(g)
        return join_plates(g, curve + jnp.exp(widths) * (d - line), self.plated)

    def inverse(self, bent: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """u -> v."""
        if not self.plated:
            return bent
        g, d = split_plates(bent, self.plated)
        line, curve, widths = self._of(g)
        return join_plates(g, line + jnp.exp(-widths) * (d - curve), self.plated)

    def log_det(self, at: Float[Array, "*S P"]) -> Float[Array, "*S"]:
        """log |det du / dv|, of u or of v: it is one of g."""
        return (
            jnp.sum(self._of(split_plates(at, self.plated)[0])[2], -1)
            if self.plated
            else jnp.zeros(at.shape[:-1])
        )

    def jacobian(self, at: Float[Array, " P"]) -> Float[Array, "P P"]:
        """du / dv, at v."""
        return jax.jacfwd(self.forward)(at)

    def inverse_jacobian(self, at: Float[Array, " P"]) -> Float[Array, "P P"]:
        """dv / du, at v."""
        return jax.jacfwd(self.inverse)(self.forward(at))

    def _of(self, g: Float[Array, "*S G"]) -> tuple[Float[Array, "*S L"], ...]:
        """m(0) + m'(0) t, m(t) and l(t)."""
        t = (g - self.centre) @ self.axes.T
        width, root, varying = parts(t, self.share, self.rates)
        line, bend = (
            self.mode + t @ self.moves.T,
            0.5 * jnp.einsum("lgh,...g,...h->...l", self.bend, t, t),
        )
        first = jnp.exp(root) * (
            self.mode + t @ linear(self.mode, self.moves, self.share, self.rates).T + bend
        )
        apart = self.apart[:, 0] + t @ self.apart[:, 1:].T
        rise = self.share * (1.0 - self.share) * (t @ self.rates.T) * self.apart[:, 0]
        second = line + (varying - self.share) * apart - rise + bend
        return line, jnp.where(self.between, second, first), width


def parts(
    t: Float[Array, "*S G"], share: Float[Array, " L"], rates: Float[Array, "L G"]
) -> tuple[Float[Array, "*S L"], ...]:
    """l(t), log(e^{r t / 2} / p(t)) and w(t)."""
    exponent = jnp.clip(t @ rates.T, -4.0 * WIDEST, 4.0 * WIDEST)
    log_p = jnp.logaddexp(jnp.log1p(-share), jnp.log(share) + exponent)
    return (
        jnp.clip(-0.5 * log_p, -WIDEST, WIDEST),
        0.5 * exponent - log_p,
        share * jnp.exp(exponent - log_p),
    )


def linear(
    mode: Float[Array, " L"],
    moves: Float[Array, "L G"],
    share: Float[Array, " L"],
    rates: Float[Array, "L G"],
) -> Float[Array, "L G"]:
    """n of the first form."""
    return moves - (mode * (0.5 - share))[:, None] * rates
