"""Conditional densities: context -> distribution on R^P. One family a file."""

from jaxtyping import PRNGKeyArray

from amortppl.densities.density import Density
from amortppl.densities.gaussian import Gaussian
from amortppl.densities.triangular import Triangular


def density(name: str, size: int, key: PRNGKeyArray) -> Density:
    """A family by name, for P latents."""
    return {"gaussian": Gaussian, "triangular": Triangular}[name](size)
