"""Inputs of a task as a Pyro user describes them: torch's tensors and distributions."""

from typing import Any

import numpy as np
import torch

from amortppl.pyro.distributions import to_numpyro


def to_numpyro_input(value: Any) -> Any:
    """A tensor as an array, a distribution of torch as NumPyro's, anything else unchanged.

    Raises:
        ModelError: a distribution that has no counterpart.
    """
    if isinstance(value, torch.Tensor):
        return np.asarray(value.detach().cpu())
    return to_numpyro(value) if isinstance(value, torch.distributions.Distribution) else value
