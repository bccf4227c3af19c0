"""A simulator on its way to worker processes."""

import pickle
import sys
from importlib.machinery import PathFinder

import cloudpickle

from amortppl.errors import ModelError
from amortppl.simulators.worker import Call


def send(call: Call) -> bytes:
    """A call as bytes that another process can read.

    A simulator of a module that a new process can import goes by its name; one of a notebook, a
    script or a file loaded by path goes with its code.

    Raises:
        ModelError: it cannot be sent.
    """
    name = getattr(call.simulator, "__module__", None) or type(call.simulator).__module__
    module = sys.modules.get(name)
    by_value = module is not None and not _importable(name)
    if by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(call)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(
            f"simulator: it cannot be sent to worker processes ({type(error).__name__}: {error}). "
            "Open files, locks and connections inside the function, or simulate in this process "
            "with workers=1"
        ) from error
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)


def _importable(name: str) -> bool:
    """Whether a new process finds a module of this name where this process has it from."""
    paths, parts, spec = None, name.split("."), None
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), paths)
        if spec is None:
            return False
        paths = spec.submodule_search_locations
    return spec is not None and spec.origin == getattr(sys.modules[name], "__file__", None)
