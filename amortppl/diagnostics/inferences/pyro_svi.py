"""Pyro's SVI of its automatic guides, one dataset after the other."""

from functools import partial
from typing import Any

import numpy as np

from amortppl.diagnostics.inferences.functions import of_function
from amortppl.diagnostics.inferences.inference import Inference
from amortppl.errors import DataError
from amortppl.task.abstract import AbstractTask


def pyro_svi(
    task: AbstractTask, name: str = "AutoNormal", steps: int = 1000, rate: float = 0.01
) -> Inference:
    """A guide of `pyro.infer.autoguide`, fitted to each dataset by Adam; for Pyro models.

    Args:
        task: the task of a Pyro model.
        name: of the guide's class.
        steps: updates.
        rate: of learning.

    Raises:
        DataError: the task is of a NumPyro model, or Pyro has no such guide.
    """
    model = getattr(task.plain.model, "pyro", None)
    if model is None:
        raise DataError(
            f"infer: expected the task of a Pyro model for pyro.svi, {task.name} is NumPyro's; use "
            f"numpyro.autoguide:{name}"
        )
    from pyro.infer import autoguide as guides

    if not hasattr(guides, name):
        raise DataError(f"infer: Pyro has no guide {name!r}")
    fit = partial(_fit, model, task, name, steps, rate)
    whole = of_function(task, fit)
    return whole._replace(name=f"Pyro {name}", settings=f"{name} {steps} {rate}")


def _fit(
    model: Any, task: AbstractTask, name: str, steps: int, rate: float, data: Any, key: Any
) -> dict[str, np.ndarray]:
    """Draws from the guide fitted to one dataset."""
    import jax
    import torch
    from pyro.infer import SVI, Trace_ELBO
    from pyro.infer import autoguide as guides
    from pyro.optim import Adam

    import pyro

    tensors = {n: torch.as_tensor(np.array(v)) for n, v in data.items()}
    if task.plain.count:
        tensors[task.plain.count] = len(next(iter(tensors.values())))
    with torch.random.fork_rng():
        torch.manual_seed(int(jax.random.key_data(key)[-1]))
        kept = pyro.get_param_store().get_state()
        pyro.clear_param_store()
        try:
            guide = getattr(guides, name)(model)
            svi = SVI(model, guide, Adam({"lr": rate}), Trace_ELBO())
            for _ in range(steps):
                svi.step(**task.plain.constants, **tensors)
            return _draw(guide, task, tensors)
        finally:
            pyro.get_param_store().set_state(kept)


def _draw(guide: Any, task: AbstractTask, tensors: Any, draws: int = 400) -> dict[str, np.ndarray]:
    import torch

    with torch.no_grad():
        each = [guide(**task.plain.constants, **tensors) for _ in range(draws)]
    return {
        n: torch.stack([d[n] for d in each]).reshape(draws, *task.latents.shapes[n]).numpy()
        for n in task.latents.names
    }
