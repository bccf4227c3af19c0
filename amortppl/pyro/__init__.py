"""Pyro models read as NumPyro models, and guides that Pyro accepts.

Nothing here imports torch until a Pyro model is at hand.
"""

from collections.abc import Callable
from typing import Any

from amortppl.pyro.recognise import is_pyro

__all__ = ["accept", "from_pyro", "is_pyro"]


def from_pyro(model: Callable[..., Any]) -> Callable[..., Any]:
    """A plain NumPyro model that does what a Pyro model does.

    The model runs unmodified: torch computes the parameters of each site on tensors backed by JAX arrays, each
    site's distribution is turned into NumPyro's, and NumPyro samples and scores it. The result can be traced
    by JAX and works under `jit`, `vmap`, `grad`, NumPyro's handlers, `NUTS`, `SVI` and `Predictive`.

    Args:
        model: a function with Pyro statements, a PyroModule, or either under Pyro's handlers.

    Returns:
        A function of the same arguments. `pyro.param` becomes `numpyro.param`; weights of a torch module are
        parameters where Pyro makes them so (`pyro.module`, PyroModule) and constants elsewhere.

    Raises:
        ImportError: the extra is not installed.
        ModelError: the model is no callable; when it runs, a distribution, operation or piece of control flow
            that has no counterpart, by site and line.

    Warns:
        VersionWarning: torch, pyro or torchax outside the versions this was tested with.
    """
    from amortppl.pyro.extra import require

    require()
    from amortppl.pyro.model import BridgedModel

    return BridgedModel(model)


def accept(example: Any, **limits: Any) -> None:
    """Accepts a distribution that only torch has, after checking its sampler and density: see `foreign.accept`."""
    from amortppl.pyro.extra import require

    require()
    from amortppl.pyro import foreign

    foreign.accept(example, **limits)
