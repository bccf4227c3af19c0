"""Rows of one dataset, and a simulated task."""

from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Bool, Float


class Batch(eqx.Module):
    """Rows of one dataset, padded to a fixed number B; `mask` is False on the padding.

    What the mask leaves out still holds valid rows (padding, which comes last, repeats one; a
    mini-batch may be masked out of a longer dataset), so that every log density is finite.
    """

    data: dict[str, Array]
    mask: Bool[Array, "... B"]


class Draw(NamedTuple):
    """A task simulated from the prior: its latents (unconstrained vector) and its rows."""

    latents: Float[Array, " P"]
    data: dict[str, Array]
