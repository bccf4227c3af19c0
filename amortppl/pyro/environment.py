"""Torch on JAX arrays: the environment in which a Pyro model's tensors are computed.

Built on torchax, whose tensors wrap JAX arrays and whose modes send every torch operation to JAX.
Added here: torch tensors from outside are constants; what depends on data alone is computed at
once, so that `.item()` and branches on data work under `jit`; each tensor knows the sites it was
computed from, for messages; randomness comes from NumPyro's key.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_map_only
from torchax.tensor import Environment, RuntimeProperty, Tensor, _PropertyHolder
from torchax.view import View

from amortppl.errors import ModelError
from amortppl.pyro import operations
from amortppl.pyro.run import Run
from amortppl.runtime.tracers import is_traced

WRAPPED = (Tensor, View)
_INT32 = 2**31


class Bridge(Environment):
    """The environment of all bridged models.

    The state of one run of one model is kept for its thread.
    """

    def __init__(self) -> None:
        super().__init__()
        operations.install(self._ops)
        _without_compiler(type(self._dispatch_mode).__torch_dispatch__)
        self._thread = threading.local()
        # torchax's own key would be a tracer of the first run.
        no_key = RuntimeProperty(mesh=None, prng=None, autocast_dtype=None)
        self._property = _PropertyHolder(lambda: no_key)

    @property
    def run(self) -> Run:
        """The run of a model that this thread is in, or an empty one."""
        if not hasattr(self._thread, "run"):
            self._thread.run = Run()
        return self._thread.run

    @run.setter
    def run(self, run: Run) -> None:
        """Makes it the run that this thread is in."""
        self._thread.run = run

    def get_and_rotate_prng_key(self, generator: Any = None) -> jax.Array:
        """A fresh key of the run, for torch's random functions."""
        if generator is not None:
            raise ModelError(
                "a torch.Generator in the model: leave it out, as random numbers come from "
                "NumPyro's key"
            )
        return self.run.key()

    def dispatch(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Computes one torch operation."""
        if func is torch._C._set_grad_enabled:  # by torch.no_grad
            self.run.gradients = args[0]
        args, kwargs = self._arguments(args, kwargs or {})
        tensors = [v for v in tree_leaves((args, kwargs)) if isinstance(v, torch.Tensor)]
        wrapped = [v for v in tensors if isinstance(v, WRAPPED)]
        if tensors and not wrapped:
            return self._outside(func, args, kwargs)
        _refuse_writes_outside(func, args, wrapped)
        concrete = not any(is_traced(v.jax()) for v in wrapped)
        with jax.ensure_compile_time_eval() if concrete else nullcontext(), _explained(func):
            result = super().dispatch(func, types, args, kwargs)
        return self._traced_back(result, frozenset().union(*(sources(v) for v in wrapped)))

    def _arguments(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments with parameters in place of torch's weights, and with types that JAX has."""

        def converted(value: Any) -> Any:
            if isinstance(value, torch.Tensor) and not isinstance(value, WRAPPED):
                return self.run.lifted.get(id(value), value)
            return narrow(value) if isinstance(value, torch.dtype) else value

        return tree_map(converted, (args, kwargs))

    def _outside(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An operation on torch's own tensors alone.

        Torch computes it, and the result is a constant of the model.
        """
        if isinstance(func, torch._ops.OpOverload):
            return func(*args, **kwargs)
        with no_dispatch(), torch._C.DisableTorchFunction():
            result = func(*args, **kwargs)
        return tree_map_only(torch.Tensor, self.constant, result)

    def _traced_back(self, result: Any, origins: frozenset[str]) -> Any:
        """The result, its tensors marked with the sites they were computed from.

        It has no gradient where the model switched gradients off.
        """
        for value in tree_leaves(result):
            if isinstance(value, WRAPPED):
                value.sources = origins | sources(value)
                if not self.run.gradients and isinstance(value, Tensor):
                    value._elem = jax.lax.stop_gradient(value._elem)
        return result

    def constant(self, value: torch.Tensor) -> torch.Tensor:
        """A tensor of torch as a constant."""
        return value if isinstance(value, WRAPPED) else Tensor(constant(value), self)

    def t2j_iso(self, torchtensors: Any) -> Any:
        """Tensors -> JAX arrays."""
        return tree_map_only(torch.Tensor, to_jax, torchtensors)

    def _should_use_torchax_tensor(self, device: Any) -> bool:
        """Tensors made inside the model are JAX's, on any device that they name."""
        return True

    def _is_same_device(self, the_tensor: Any, new_device: Any) -> bool:
        """Moving to a device changes nothing: JAX places arrays."""
        return True


def sources(value: Any) -> frozenset[str]:
    """Names of the latents and arguments that a tensor was computed from."""
    return getattr(value, "sources", frozenset())


def narrow(dtype: torch.dtype) -> torch.dtype:
    """The type that JAX uses for one of torch's.

    Raises:
        ModelError: double precision, which JAX has only on request.
    """
    if jax.config.jax_enable_x64:
        return dtype
    if dtype in (torch.float64, torch.complex128):
        raise ModelError(
            f"the model computes in {dtype}, and JAX is set to single precision: write "
            "torch.float32, or run jax.config.update('jax_enable_x64', True) before anything else"
        )
    return torch.int32 if dtype == torch.int64 else dtype


def constant(value: torch.Tensor) -> jax.Array:
    """A tensor of torch as a JAX array, concrete even under `jit`.

    Raises:
        ModelError: it is in double precision, or holds whole numbers beyond 32 bits, without x64.
    """
    with no_dispatch(), torch._C.DisableTorchFunction():
        plain = value.detach().cpu()
        wanted = narrow(plain.dtype)
        if wanted != plain.dtype and plain.numel() and int(plain.abs().max()) >= _INT32:
            raise ModelError(
                "a tensor holds whole numbers beyond 32 bits: run "
                "jax.config.update('jax_enable_x64', True) first"
            )
        array = plain.to(wanted).to_dense().numpy().copy()
    with jax.ensure_compile_time_eval():
        return jnp.asarray(array)


def to_jax(value: Any) -> Any:
    """A tensor as a JAX array; anything else unchanged."""
    if isinstance(value, WRAPPED):
        return value.jax()
    if isinstance(value, torch.Tensor):
        lifted = bridge().run.lifted.get(id(value))
        return constant(value) if lifted is None else lifted.jax()
    return value


def to_torch(value: Any, name: str | None = None) -> Any:
    """A JAX or NumPy array as a tensor of the model, marked with the site it belongs to."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        return value
    tensor = Tensor(value if isinstance(value, jax.Array) else jnp.asarray(value), bridge())
    tensor.sources = frozenset([name] if name else [])
    return tensor


@contextmanager
def _explained(func: Any) -> Iterator[None]:
    """Turns a TypeError of a torch operation into a ModelError.

    At a TypeError Python would try the other operand's method instead.
    """
    try:
        yield
    except TypeError as error:
        if isinstance(error, jax.errors.JAXTypeError):
            raise
        raise operations.failed(func, error) from error


def _refuse_writes_outside(func: Any, args: Any, wrapped: list[Any]) -> None:
    """Refuses an operation that writes JAX values into torch's own tensor: they would be lost."""
    writes = isinstance(func, torch._ops.OpOverload) and func._schema.is_mutable
    if (
        writes
        and wrapped
        and isinstance(args[0], torch.Tensor)
        and not isinstance(args[0], WRAPPED)
    ):
        raise ModelError(
            "the model writes into a tensor that was made outside of it: make the tensor inside "
            "the model, or write into a .clone()"
        )


def _without_compiler(dispatch: Any) -> None:
    """Keeps torch from importing its compiler, which takes seconds, at a mode's first operation.

    Torch hides a mode's dispatch from the compiler by a wrapper that looks for this attribute
    first.
    """
    hidden = getattr(dispatch, "__wrapped__", None)
    if hidden is not None and not hasattr(hidden, "__dynamo_disable"):
        setattr(hidden, "__dynamo_disable", hidden)


_BRIDGE: list[Bridge] = []
_MAKING = threading.Lock()


def bridge() -> Bridge:
    """The environment, made once."""
    with _MAKING:
        if not _BRIDGE:
            _BRIDGE.append(Bridge())
    return _BRIDGE[0]


def map_tensors(function: Any, tree: Any) -> Any:
    """A function applied to the leaves of lists, tuples and dicts; other objects are leaves."""
    leaves, structure = tree_flatten(tree)
    return structure.unflatten([function(v) for v in leaves])
