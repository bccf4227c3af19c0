"""Conditional densities: context -> distribution on R^P. One family a file."""

from jaxtyping import PRNGKeyArray

from amortppl.densities.density import Density
from amortppl.densities.diagonal import Diagonal
from amortppl.densities.gaussian import Gaussian
from amortppl.densities.mixture import Mixture
from amortppl.densities.triangular import Triangular
from amortppl.errors import nearest, quoted

FAMILIES = ("diagonal", "gaussian", "mixture", "spline_flow", "triangular")


def density(name: str, size: int, key: PRNGKeyArray) -> Density:
    """A family by name, for P latents.

    Raises:
        LookupError: no family of that name.
    """
    if name == "spline_flow":
        from amortppl.densities.spline_flow import SplineFlow

        return SplineFlow(size, key)
    if name not in FAMILIES:
        raise LookupError(
            f"density: {name!r} is none of {quoted(FAMILIES)}{nearest(name, FAMILIES)}"
        )
    return {
        "diagonal": Diagonal,
        "gaussian": Gaussian,
        "mixture": Mixture,
        "triangular": Triangular,
    }[name](size)
