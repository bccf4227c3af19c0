"""NumPyro's handlers around a model: whose arguments the whole has."""

import functools
from collections.abc import Callable
from typing import Any

from numpyro.primitives import Messenger


def name_arguments(model: Callable[..., Any]) -> Callable[..., Any]:
    """The model, where a handler around it was used as a decorator with the model's name and
    arguments.

    `handlers.reparam(model, config=...)` takes them over by itself,
    `handlers.reparam(config=...)(model)` does not.
    """
    if isinstance(model, Messenger) and model.fn is not None:
        name_arguments(model.fn)
        if not hasattr(model, "__wrapped__"):
            functools.update_wrapper(model, model.fn, updated=())
    return model
