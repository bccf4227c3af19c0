"""A network that all latents share, whose weights do not depend on how many groups there are.

What it sees of latent i is the frame along axis i and the same of the latents that are alone in
their site. It gives the four coefficients of `amortppl.densities.diagonal`: shift, scale, skewness
and tails of z_i. So an effect's skewness is learned from all groups of all tasks together, and few
tasks are not learned by heart.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities import Density
from amortppl.densities.diagonal import Diagonal
from amortppl.gaussian.summary import summary_size
from amortppl.networks.mlp import mlp
from amortppl.task.abstract import AbstractTask

OWN, OUTPUTS, WIDTH = 7, 4, 64
"""Numbers of the frame along an axis, coefficients of a coordinate, and the network's width."""


class SharedCorrection(eqx.Module):
    """Coefficients of `Diagonal` from what `amortppl.gaussian.summary.describe` gives.

    Attributes:
        network: from a latent's features to its coefficients.
        sites: for each latent the number of its site.
    """

    network: eqx.nn.MLP
    sites: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, seen: int, sites: tuple[int, ...], key: PRNGKeyArray) -> None:
        """Draws the weights; the last layer begins at zero.

        Args:
            seen: numbers of the encoded rows and their count, F - `summary_size(P)`.
            sites: for each latent the number of its site.
            key: of the weights.
        """
        self.sites = sites
        inputs = OWN * (1 + len(self._alone)) + max(sites) + 1 + seen
        self.network = mlp(inputs, OUTPUTS, WIDTH, 2, key, start=jnp.zeros(OUTPUTS))

    @property
    def _alone(self) -> np.ndarray:
        """Latents that are alone in their site."""
        sites = np.array(self.sites)
        return np.flatnonzero(np.bincount(sites)[sites] == 1)

    def __call__(self, summary: Float[Array, " F"]) -> Float[Array, " K"]:
        """Shifts, scales, skewnesses and tails of all latents, K = 4 P."""
        size = len(self.sites)
        seen, frame = jnp.split(summary, [len(summary) - summary_size(size)])
        own = along_axes(frame, size)
        site = jnp.eye(max(self.sites) + 1)[np.array(self.sites)]
        common = jnp.concatenate([seen, own[self._alone].ravel()])
        tokens = [own, site, jnp.broadcast_to(common, (size, len(common)))]
        return jax.vmap(self.network)(jnp.concatenate(tokens, -1)).T.ravel()


def along_axes(frame: Float[Array, " F"], size: int) -> Float[Array, "P 7"]:
    """Of a frame's place and residual what belongs to each axis.

    Location, scale, the residual gradient at the centre, ahead, behind and both together (a third
    derivative), and the latter two averaged over all axes.

    Args:
        frame: the last numbers of `describe`.
        size: P.
    """
    place, factor, centre, ahead, behind = jnp.split(
        frame, np.cumsum([size, size * (size + 1) // 2, size, size * size])
    )
    axes = np.arange(size)
    ahead, behind = ahead.reshape(size, size), behind.reshape(size, size)
    both = ahead + behind
    diagonal = factor[axes * (axes + 3) // 2]
    own = [a[axes, axes] for a in (ahead, behind, both)]
    return jnp.stack([place, diagonal, centre, *own, jnp.mean(both, 0)], -1)


def shares_correction(task: AbstractTask, family: Density) -> bool:
    """Whether a correction is shared: of several groupings, read out coordinate by coordinate."""
    return task.several is not None and isinstance(family, Diagonal)


def site_numbers(task: AbstractTask) -> tuple[int, ...]:
    """For each latent the number of its site."""
    shapes = [task.latents.unconstrained[n] for n in task.latents.names]
    return tuple(np.repeat(np.arange(len(shapes)), [int(np.prod(s)) for s in shapes]).tolist())


def shared_correction(task: AbstractTask, summary: int, key: PRNGKeyArray) -> SharedCorrection:
    """The network for a task.

    Args:
        task: with a frame.
        summary: F, numbers of `describe`.
        key: of the weights.
    """
    seen = summary - summary_size(task.latents.size)
    return SharedCorrection(seen, site_numbers(task), jr.fold_in(key, 0))
