"""What Pyro itself says of a model's log density: the judge of a translated model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample

from amortppl.pyro.isolation import apart
from pyro import poutine


class SiteDensity(NamedTuple):
    """The log density of a site, summed, and the sum of the sizes of its terms."""

    value: float
    size: float


def site_densities(
    model: Any, arguments: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, SiteDensity]:
    """Log densities by site of one run of a Pyro model in torch.

    Args:
        model: the Pyro model.
        arguments: its arguments; arrays become tensors.
        values: of its sample sites, latents and others.
    """
    given = {n: _tensor(v) for n, v in arguments.items()}
    with apart(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        with _Placed({n: _tensor(v) for n, v in values.items()}):
            trace = poutine.trace(model).get_trace(**given)
        trace.compute_log_prob()
    return {
        name: SiteDensity(float(site["log_prob_sum"]), float(site["log_prob"].abs().sum()))
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not isinstance(site["fn"], _Subsample)
    }


class _Placed(Messenger):
    """Gives sites their values, of the types that Pyro samples."""

    def __init__(self, values: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, message: Any) -> None:
        value = self.values.get(message["name"], message["value"])
        fn = message["fn"]
        if isinstance(fn, _Subsample) or not isinstance(value, torch.Tensor):
            return
        discrete = bool(fn.support.is_discrete)
        message["value"] = value.to(fn.sample().dtype) if discrete else value


def _tensor(value: Any) -> Any:
    """An array as a tensor; whole numbers of 64 bits, as indices are in torch."""
    if isinstance(value, torch.Tensor) or not hasattr(value, "__array__"):
        return value
    array = np.array(value)
    kinds = {"f": np.float32, "i": np.int64, "u": np.int64}
    return torch.from_numpy(array.astype(kinds.get(array.dtype.kind, array.dtype)))
