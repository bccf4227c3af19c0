"""A Pyro model as a plain NumPyro model."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

from amortppl.errors import ModelError
from amortppl.pyro.environment import bridge, constant, map_tensors, to_jax, to_torch
from amortppl.pyro.explain import explain
from amortppl.pyro.isolation import alone
from amortppl.pyro.markov import close
from amortppl.pyro.recognise import underlying
from amortppl.pyro.run import Run
from amortppl.pyro.sites import carry_out
from amortppl.pyro.threads import separate_stacks


class BridgedModel:
    """A Pyro model that runs as a NumPyro model, with its name and arguments.

    Attributes:
        pyro: the Pyro model.
    """

    from_pyro = True

    def __init__(self, model: Callable[..., Any]) -> None:
        if isinstance(model, BridgedModel):
            model = model.pyro
        if not callable(model) or isinstance(model, type):
            made = (
                f"the class {model.__name__}; make an instance of it"
                if isinstance(model, type)
                else repr(model)
            )
            raise ModelError(
                f"from_pyro: expected a Pyro model (a function or a PyroModule), got {made}"
            )
        separate_stacks()
        self.pyro = model
        written = underlying(model)
        self.__wrapped__ = written if inspect.isfunction(written) else type(written)
        self.__name__ = self.__wrapped__.__name__
        self.__signature__ = inspect.signature(getattr(written, "forward", written))
        self.__doc__ = model.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model inside NumPyro's handlers; returns what it returns, as JAX arrays."""
        environment, run = bridge(), Run()
        outer = environment.run
        try:
            with alone(carry_out):
                environment.run = run
                try:
                    args, kwargs = self._given(args, kwargs)
                    with environment:
                        returned = self.pyro(*args, **kwargs)
                    return jax.tree.map(
                        to_jax, returned, is_leaf=lambda v: isinstance(v, torch.Tensor)
                    )
                finally:
                    close(run)
                    environment.run = outer
        except Exception as error:
            told = explain(error, run)
            if told is error:
                raise
            raise told from error

    def _given(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The arguments as tensors of the model, each knowing its name."""
        bound = self.__signature__.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            bound.arguments[name] = map_tensors(lambda v, name=name: _argument(v, name), value)
        return bound.args, bound.kwargs


def _argument(value: Any, name: str) -> Any:
    if isinstance(value, torch.Tensor) and not hasattr(value, "jax"):
        return to_torch(constant(value), name)
    return (
        to_torch(value, name) if isinstance(value, jax.Array | np.ndarray | np.generic) else value
    )
