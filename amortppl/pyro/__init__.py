"""Pyro models read as NumPyro models, and guides that Pyro accepts.

Nothing here imports torch until a Pyro model is at hand.
"""

import sys
from collections.abc import Callable
from typing import Any

from amortppl.pyro.recognise import is_pyro

__all__ = ["accept", "described", "from_pyro", "is_pyro"]


def from_pyro(model: Callable[..., Any]) -> Callable[..., Any]:
    """A plain NumPyro model that does what a Pyro model does.

    The model runs unmodified: torch computes the parameters of each site on tensors backed by JAX
    arrays, each site's distribution is turned into NumPyro's, and NumPyro samples and scores it.
    The result can be traced by JAX and works under `jit`, `vmap`, `grad`, NumPyro's handlers,
    `NUTS`, `SVI` and `Predictive`.

    Args:
        model: a function with Pyro statements, a PyroModule, or either under Pyro's handlers.

    Returns:
        A function of the same arguments. `pyro.param` becomes `numpyro.param`; weights of a torch
        module are parameters where Pyro makes them so (`pyro.module`, PyroModule) and constants
        elsewhere.

    Raises:
        ImportError: the extra is not installed.
        ModelError: the model is no callable; when it runs, a distribution, operation or piece of
            control flow that has no counterpart, by site and line.

    Warns:
        VersionWarning: torch, pyro or torchax outside the versions this was tested with.

    Example:
        >>> import amortppl as ap, numpyro, pyro, pyro.distributions as dist
        >>> def model():
        ...     return pyro.sample("theta", dist.Normal(0.0, 1.0))
        >>> with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.trace() as trace:
        ...     draw = ap.from_pyro(model)()
        >>> type(trace["theta"]["fn"]) is numpyro.distributions.Normal
        True
    """
    from amortppl.pyro.requirements import require

    require()
    from amortppl.pyro.model import BridgedModel

    return BridgedModel(model)


def accept(example: Any, **limits: Any) -> None:
    """Accepts a distribution that only torch has, after checking its sampler and density.

    Args:
        example: a distribution of that class, with numbers as parameters.
        limits: of the check; see `amortppl.pyro.torch_distributions.accept`.
    """
    from amortppl.pyro.requirements import require

    require()
    from amortppl.pyro import torch_distributions

    torch_distributions.accept(example, **limits)


def described(inputs: dict[str, Any]) -> dict[str, Any]:
    """Descriptions of inputs, torch's tensors as arrays and its distributions as NumPyro's."""
    if "torch" not in sys.modules or not any(
        type(v).__module__.startswith(("torch", "pyro.")) for v in inputs.values()
    ):
        return inputs
    from amortppl.pyro.requirements import require

    require()
    from amortppl.pyro.inputs import to_numpyro_input

    return {name: to_numpyro_input(value) for name, value in inputs.items()}
