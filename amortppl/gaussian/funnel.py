"""Coordinates in which the funnel of a hierarchical posterior is straight and equally wide.

The latents in plates, d, follow the other latents, g, along a curve, and their width varies along
it: where d = (effect - location) / scale and data determine the effect, d lies about c / scale and
is as wide as noise / scale. With few data the curve is slight beside the posterior's width; with
many it is what a Gaussian misses most.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from amortppl.gaussian.plates import join_plates, split_plates

WIDEST = 5.0
"""Log widths relative to that at the centre are held within (-WIDEST, WIDEST)."""


class Funnel(eqx.Module):
    """The map v -> u and its inverse.

    u_g = v_g and, with t = W (v_g - c), g in units of its own marginal's,

        u_d = m(t) + e^{l(t)} (v_d - m(0) - m'(0) t),    l(t) = -1/2 log p(t)
        p(t) = 1 - a + a e^{r t}

    for every d. The precision p of d given g has a part that varies in proportion to a power of
    scales, its share w(t) = a e^{r t} / p(t), and one that does not. The mode m takes one of two
    forms. For (effect - location) / scale the part that varies is the data's, which determine the
    mode as a root of their precision, and the prior's mode is zero:

        m(t) = e^{r t / 2} / p(t) (m(0) + n t + 1/2 K[t, t]),    n such that m'(0) is its gradient
                                                                 at the centre.

    For effects themselves it is the prior's, and its mode, the location, and the data's are
    D_0 + D_1 t apart:

        m(t) = m(0) + m'(0) t + (w(t) - w(0) - w'(0) t) D_0 + (w(t) - w(0)) D_1 t + 1/2 K[t, t].

    Both are exact for a normal regression as location and scale vary; K holds what is left.

    Attributes:
        centre: c.
        axes: W.
        mode, mode_gradient, curvature: m(0), m'(0) and K.
        share, rates: a and r.
        between: whether m has the second form.
        apart: D_0 and D_1.
        plated: which latents are d; empty where all or none are, and then u = v.
    """

    centre: Float[Array, " G"]
    axes: Float[Array, "G G"]
    mode: Float[Array, " L"]
    mode_gradient: Float[Array, "L G"]
    curvature: Float[Array, "L G G"]
    share: Float[Array, " L"]
    rates: Float[Array, "L G"]
    between: Bool[Array, " L"]
    apart: Float[Array, "L H"]
    plated: tuple[bool, ...] = eqx.field(static=True, default=())

    @classmethod
    def none(cls, plated: tuple[bool, ...] = ()) -> "Funnel":
        """The identity, u = v."""
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
        line, curve, widths = self._at(g)
        return join_plates(g, curve + jnp.exp(widths) * (d - line), self.plated)

    def inverse(self, bent: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """u -> v."""
        if not self.plated:
            return bent
        g, d = split_plates(bent, self.plated)
        line, curve, widths = self._at(g)
        return join_plates(g, line + jnp.exp(-widths) * (d - curve), self.plated)

    def log_det(self, at: Float[Array, "*S P"]) -> Float[Array, "*S"]:
        """log |det du / dv| at u or at v, which share g, all that it depends on."""
        return (
            jnp.sum(self._at(split_plates(at, self.plated)[0])[2], -1)
            if self.plated
            else jnp.zeros(at.shape[:-1])
        )

    def jacobian(self, at: Float[Array, " P"]) -> Float[Array, "P P"]:
        """du / dv, at v."""
        return jax.jacfwd(self.forward)(at)

    def inverse_jacobian(self, at: Float[Array, " P"]) -> Float[Array, "P P"]:
        """dv / du, at v."""
        return jax.jacfwd(self.inverse)(self.forward(at))

    def _at(self, g: Float[Array, "*S G"]) -> tuple[Float[Array, "*S L"], ...]:
        """m(0) + m'(0) t, m(t) and l(t)."""
        t = (g - self.centre) @ self.axes.T
        width, root, varying = parts(t, self.share, self.rates)
        line = self.mode + t @ self.mode_gradient.T
        rest = 0.5 * jnp.einsum("lgh,...g,...h->...l", self.curvature, t, t)
        first_linear = linear(self.mode, self.mode_gradient, self.share, self.rates)
        first = jnp.exp(root) * (self.mode + t @ first_linear.T + rest)
        apart = self.apart[:, 0] + t @ self.apart[:, 1:].T
        rise = self.share * (1.0 - self.share) * (t @ self.rates.T) * self.apart[:, 0]
        second = line + (varying - self.share) * apart - rise + rest
        return line, jnp.where(self.between, second, first), width


def parts(
    t: Float[Array, "*S G"], share: Float[Array, " L"], rates: Float[Array, "L G"]
) -> tuple[Float[Array, "*S L"], ...]:
    """l(t), log(e^{r t / 2} / p(t)) and w(t) of `Funnel`."""
    exponent = jnp.clip(t @ rates.T, -4.0 * WIDEST, 4.0 * WIDEST)
    log_p = jnp.logaddexp(jnp.log1p(-share), jnp.log(share) + exponent)
    return (
        jnp.clip(-0.5 * log_p, -WIDEST, WIDEST),
        0.5 * exponent - log_p,
        share * jnp.exp(exponent - log_p),
    )


def linear(
    mode: Float[Array, " L"],
    mode_gradient: Float[Array, "L G"],
    share: Float[Array, " L"],
    rates: Float[Array, "L G"],
) -> Float[Array, "L G"]:
    """n of the first form of `Funnel`'s mode."""
    return mode_gradient - (mode * (0.5 - share))[:, None] * rates
