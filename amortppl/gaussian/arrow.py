"""Precision matrices shaped like an arrow: d in N parts that are independent given g.

    [ A  B  ]        M = A - B D^-1 B',    -D^-1 B' = derivative of d's mode by g
    [ B' D  ]        D block-diagonal, blocks of S

What is done with one costs N S^3 + L G^2 + G^3, and S + G products with a Hessian find it, of L + G
numbers: linear in the parts. Rooms of schools are one part a school, of 1 + R numbers.

Rue and Held 2005, "Gaussian Markov Random Fields", section 2.4 (Schur complements).
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.block_diagonal import BlockSpectrum
from amortppl.gaussian.cholesky_precision import CholeskyPrecision
from amortppl.gaussian.frame import Spectrum, clipped_eigh
from amortppl.gaussian.newton import differentiate
from amortppl.gaussian.plates import Plates
from amortppl.gaussian.row_pairs import RowPairs


class Arrow(eqx.Module):
    """A symmetric positive definite matrix of g and d.

    Attributes:
        plates: which numbers are d, and their parts.
        marginal: M, the precision of g with d integrated out.
        conditional: D, that of d given g.
        mode_gradient: derivative of d's mode by g.

    >>> plates = Plates((-1, 0, 1))
    >>> precision = jnp.array([[3.0, 1.0, 1.0], [1.0, 2.0, 0.0], [1.0, 0.0, 2.0]])
    >>> arrow = Arrow.clip(plates, -precision @ jnp.asarray(plates.directions).T, 1e-3)
    >>> arrow.solve(precision @ jnp.array([1.0, 2.0, 3.0])).round().tolist()
    [1.0, 2.0, 3.0]
    >>> round(float(arrow.log_det()), 3), round(float(jnp.linalg.slogdet(precision)[1]), 3)
    (2.079, 2.079)
    """

    plates: Plates = eqx.field(static=True)
    marginal: Spectrum | CholeskyPrecision
    conditional: BlockSpectrum
    mode_gradient: Float[Array, "L G"]

    @classmethod
    def clip(cls, plates: Plates, products: Float[Array, "P M"], low: float) -> "Arrow":
        """-Hessian from its products with `plates.directions`, eigenvalues of M and D at least
        `low` in absolute value.

        Args:
            plates: which numbers are d, and their parts.
            products: the Hessian's, one a column.
            low: the bound.
        """
        of_g, across, of_d = plates.blocks(products.T)
        conditional, mode_gradient = _eliminate(plates, across, of_d, low)
        marginal = clipped_eigh(of_g + across @ mode_gradient, low, jnp.inf)
        return cls(plates, marginal, conditional, mode_gradient)

    @classmethod
    def of_blocks(
        cls,
        plates: Plates,
        blocks: tuple[Array, Array, Array],
        low: float,
        pairs: RowPairs | None = None,
    ) -> "Arrow":
        """The matrix of A, B and the blocks of D, by a Cholesky factor of M.

        Args:
            plates: which numbers are d, and their parts.
            blocks: (G, G), (G, L) and (N, S, S).
            low: least absolute eigenvalue of D.
            pairs: the entries of B by row, where most are zero and S is 1.
        """
        of_g, across, of_d = blocks
        conditional, mode_gradient = _eliminate(plates, across, of_d, low)
        if pairs is None:
            product = across @ mode_gradient
        else:
            product = pairs.product(across, mode_gradient, conditional.values[:, 0])
        return cls(plates, CholeskyPrecision.of(of_g + product), conditional, mode_gradient)

    @classmethod
    def identity(
        cls, plates: Plates, kind: type[Spectrum] | type[CholeskyPrecision] = Spectrum
    ) -> "Arrow":
        """The unit matrix, M in one of two forms."""
        (parts, most), outer = plates.members.shape, len(plates.outer)
        blocks = jnp.broadcast_to(jnp.eye(most), (parts, most, most))
        zero = jnp.zeros((len(plates.inner), outer))
        conditional = BlockSpectrum(jnp.ones((parts, most)), blocks)
        return cls(plates, kind.identity(outer), conditional, zero)

    def solve(self, right: Float[Array, " P"]) -> Float[Array, " P"]:
        """The inverse times a vector."""
        plates = self.plates
        by_g, by_d = plates.split(right)
        g = self.marginal.solve(by_g + by_d @ self.mode_gradient)
        d = plates.flat(self.conditional.solve(plates.by_part(by_d)))
        return plates.join(g, d + self.mode_gradient @ g)

    def spread(self, z: Float[Array, " P"]) -> Float[Array, " P"]:
        """A draw of the normal distribution with this precision, from a standard normal one."""
        plates = self.plates
        of_g, of_d = plates.split(z)
        g = self.marginal.spread(of_g)
        values, vectors = self.conditional
        # By the symmetric root, which leaves the places of smaller parts that are not there at 0.
        scaled = jnp.einsum("nij,ni->nj", vectors, plates.by_part(of_d)) / jnp.sqrt(values)
        d = plates.flat(jnp.einsum("nij,nj->ni", vectors, scaled))
        return plates.join(g, d + self.mode_gradient @ g)

    def log_det(self) -> Float[Array, ""]:
        """The logarithm of the determinant."""
        return self.marginal.log_det() + jnp.sum(jnp.log(self.conditional.values))

    def squared(self, x: Float[Array, " P"]) -> Float[Array, ""]:
        """x' times the matrix times x."""
        g, d = self.plates.split(x)
        apart = self.plates.by_part(d - self.mode_gradient @ g)
        values, vectors = self.conditional
        turned = jnp.einsum("nij,ni->nj", vectors, apart)
        return self.marginal.squared(g) + jnp.sum(values * turned**2)


def _eliminate(
    plates: Plates, across: Array, of_d: Array, low: float
) -> tuple[BlockSpectrum, Array]:
    """D's spectra, and the derivative of d's mode by g."""
    conditional = BlockSpectrum.clip(of_d, low)
    return conditional, -plates.flat(conditional.solve(plates.by_part(across))).T


def gradient_and_arrow(
    f: Callable[[Array], Array], plates: Plates, at: Float[Array, " P"], low: float
) -> tuple[Float[Array, " P"], Arrow]:
    """Gradient of a log density, and its -Hessian as `Arrow.clip` has it."""

    def along(direction: Array) -> tuple[Array, Array, Array]:
        return differentiate(f, at, direction)

    directions = jnp.asarray(plates.directions, at.dtype)
    _, gradient, products = jax.vmap(along, out_axes=(None, None, 1))(directions)
    return jnp.nan_to_num(gradient), Arrow.clip(plates, jnp.nan_to_num(products), low)
