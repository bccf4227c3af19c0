"""Whether a curve lies in its band."""

import numpy as np

from amortppl.diagnostics.uniformity import difference


def inside(pit, band):
    """Whether the whole difference of distribution functions lies in a `difference_band`."""
    at, low, high = band
    curve = difference(pit, at)
    return bool(np.all((curve >= low - 1e-12) & (curve <= high + 1e-12)))
