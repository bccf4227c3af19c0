"""Pyro's statements carried out by NumPyro: sample, plate, param, deterministic, factor."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.handlers as handlers
import pyro.distributions as dist
import torch
from pyro.poutine.subsample_messenger import _Subsample

import pyro
from amortppl.errors import ModelError
from amortppl.pyro.distributions import to_numpyro
from amortppl.pyro.environment import bridge, to_jax, to_torch
from amortppl.pyro.markov import follow
from amortppl.pyro.run import Run
from amortppl.pyro.supports import to_numpyro_support


def carry_out(message: Any) -> None:
    """What Pyro does last with a message, done by NumPyro; what Pyro's handlers blocked is hidden
    from NumPyro's.
    """
    run = bridge().run
    run.site = message["name"]
    with handlers.block() if message["stop"] else ExitStack():
        if message["type"] == "param":
            _param(run, message)
        elif isinstance(message["fn"], _Subsample):
            _plate(run, message)
        else:
            _sample(run, message)
    message["done"] = True
    run.site = None


def _sample(run: Run, message: Any) -> None:
    fn, name, value = message["fn"], message["name"], message["value"]
    if not isinstance(fn, torch.distributions.Distribution | dist.Distribution):
        raise ModelError(
            f"site '{name}': expected a distribution as in pyro.sample('{name}', dist.Normal(0, "
            f"1)), "
            f"got {_describe(fn)}"
        )
    follow(run)
    with _enclosing_plates(run, message):
        if message["infer"].get("_deterministic") or _is_computed(fn, message):
            found = numpyro.deterministic(name, to_jax(value))
        elif _is_factor(fn):
            _factor(name, to_numpyro(fn))
            return
        else:
            found = _draw(message, to_numpyro(fn))
    if not message["is_observed"]:
        run.latents.append(name)
    message["value"] = to_torch(found, name)


def _describe(fn: Any) -> str:
    return (
        f"the class {fn.__name__} without arguments"
        if isinstance(fn, type)
        else f"{type(fn).__name__} {fn!r:.60}"
    )


def _draw(message: Any, fn: Any) -> Any:
    """The site in NumPyro. A value from a handler of Pyro's (replay, obs through a guide) stays a
    latent's.
    """
    name, value = message["name"], message["value"]
    infer = {k: v for k, v in message["infer"].items() if not k.startswith("_")}
    if infer.get("enumerate") == "sequential":
        infer["enumerate"] = "parallel"  # the only way NumPyro has; the sum is the same
    if value is None or message["is_observed"]:
        return numpyro.sample(name, fn, obs=to_jax(value), infer=infer)
    with handlers.substitute(data={name: to_jax(value)}):
        return numpyro.sample(name, fn, infer=infer)


def _is_computed(fn: Any, message: Any) -> bool:
    """Whether a handler (`reparam`) left a site as a value that others determine: an observed,
    masked Delta.
    """
    masked = isinstance(fn, dist.MaskedDistribution) and fn._mask is False
    return masked and message["is_observed"] and isinstance(fn.base_dist, dist.Delta)


def _is_factor(fn: Any) -> bool:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, dist.Unit)


def _factor(name: str, fn: Any) -> None:
    numpyro.sample(name, fn, obs=jnp.zeros((*fn.batch_shape, 0)), infer={"is_auxiliary": True})


@contextmanager
def _enclosing_plates(run: Run, message: Any) -> Iterator[None]:
    """NumPyro's plates, scale and mask around a site, as Pyro's are."""
    scale = message["scale"]
    with ExitStack() as stack:
        frames = [f for f in message["cond_indep_stack"] if f.vectorized]
        for frame in sorted(frames, key=lambda f: f.dim):
            plate = run.plates.get(frame.name) or numpyro.plate(
                frame.name, int(frame.size), dim=frame.dim
            )
            plate.dim = frame.dim
            stack.enter_context(plate)
            scale = (
                scale * plate.subsample_size / plate.size
            )  # which NumPyro's plate multiplies again
        scale = to_jax(scale)
        if not (isinstance(scale, int | float) and abs(scale - 1) < 1e-9):
            stack.enter_context(handlers.scale(scale=scale))
        if message["mask"] is not None:
            stack.enter_context(handlers.mask(mask=to_jax(message["mask"])))
        yield


def _plate(run: Run, message: Any) -> None:
    """The rows of a plate: all, given ones, or NumPyro's random choice."""
    name, size, given = message["name"], message["fn"].size, message["value"]
    few = message["fn"].subsample_size
    if given is not None:
        chosen = jnp.asarray(to_jax(given))
        plate = numpyro.plate(name, size, subsample_size=len(chosen), dim=-1)
        plate._indices = chosen
    else:
        plate = numpyro.plate(
            name, size, subsample_size=few if few and few < size else None, dim=-1
        )
    plate.dim = None
    run.plates[name] = plate
    if given is None and plate.subsample_size == plate.size:
        with jax.ensure_compile_time_eval():  # their values are known even under jit
            message["value"] = to_torch(jnp.arange(plate.size))
    else:
        message["value"] = to_torch(plate._indices)


def _param(run: Run, message: Any) -> None:
    name, initial = message["name"], message["args"][1] if len(message["args"]) > 1 else None
    support = message["kwargs"].get("constraint") or dist.constraints.real
    if initial is None:
        if name not in pyro.get_param_store():
            raise ModelError(
                f"pyro.param('{name}'): expected an initial value, got none, and the store has no "
                f"'{name}'"
            )
        initial = pyro.get_param_store()[name].detach()
    options = (
        {} if support is dist.constraints.real else {"constraint": to_numpyro_support(support)}
    )
    found = to_torch(numpyro.param(name, _initial(initial), **options), name)
    message["value"] = found
    if isinstance(
        initial, torch.nn.Parameter
    ):  # the module that owns it computes with the parameter's value
        run.lifted[id(initial)] = found
        run.weights.append(initial)


def _initial(initial: Any) -> Any:
    """Initial values of a parameter: a number, tensor, or function without arguments."""
    if callable(initial) and not isinstance(initial, torch.Tensor):
        initial = initial()
    return to_jax(torch.as_tensor(initial))
