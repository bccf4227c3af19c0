"""What a model contains, found by running it on abstract values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.handlers as handlers
from numpyro.distributions import biject_to
from numpyro.distributions.util import sum_rightmost

from amortppl.errors import ModelError, quoted

Call = Callable[[Callable[..., Any], Mapping[str, Any], int], dict[str, dict]]

_CONTROL_FLOW = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
_TRACEABLE = "use jnp.where or jax.lax.cond / scan on values, so that JAX can trace the model"


@dataclass(frozen=True)
class Site:
    """One sample or deterministic site, without its values.

    Attributes:
        shape: of the value.
        density_shape: of its log density (sample sites): one entry per independent draw.
        unconstrained: shape after mapping the support to the real line (continuous sites).
        plates: plate name by axis of the value, counted from the left.
        enumerated: whether the model asks to sum its values out.
    """

    name: str
    kind: str
    distribution: str
    support: str
    discrete: bool
    observed: bool
    shape: tuple[int, ...]
    dtype: str
    density_shape: tuple[int, ...]
    unconstrained: tuple[int, ...]
    plates: dict[int, str]
    enumerated: bool = False


def abstract_sites(
    model: Callable[..., Any], arguments: Callable[[jax.Array], dict[str, Any]]
) -> dict[str, Site]:
    """Runs `model(**arguments(key))` on abstract values and lists its sites in order.

    Raises:
        ModelError: the model fails, or needs the value of a latent or an input in Python.
    """
    found: dict[str, Site] = {}

    def run(key: jax.Array) -> None:
        kwargs = arguments(jr.fold_in(key, 0))
        trace = handlers.trace(handlers.seed(model, jr.fold_in(key, 1))).get_trace(**kwargs)
        for name, site in trace.items():
            if site["type"] in ("sample", "deterministic"):
                found[name] = _site(name, site)

    try:
        jax.eval_shape(run, jr.key(0))
    except _CONTROL_FLOW as error:
        where = _culprits(model, arguments) or "on a latent or an input"
        line = str(error).splitlines()[0]
        raise ModelError(
            f"the model has Python control flow {where}: {line}. "
            f"{_TRACEABLE[0].upper()}{_TRACEABLE[1:]}."
        ) from error
    return found


def _site(name: str, site: dict) -> Site:
    value, plates = site["value"], {}
    if site["type"] == "deterministic":
        shape = jnp.shape(value)
        return Site(
            name,
            "deterministic",
            "",
            "",
            False,
            False,
            shape,
            str(jnp.result_type(value)),
            (),
            (),
            {},
        )
    fn = site["fn"]
    discrete = bool(getattr(fn.support, "is_discrete", False))
    batch = len(jnp.shape(value)) - fn.event_dim
    for frame in site["cond_indep_stack"]:
        if batch + frame.dim >= 0:
            plates[batch + frame.dim] = frame.name
    continuous = not discrete and not site["is_observed"]
    return Site(
        name=name,
        kind="sample",
        distribution=_family(fn),
        support=type(fn.support).__name__.strip("_"),
        discrete=discrete,
        observed=bool(site["is_observed"]),
        shape=jnp.shape(value),
        dtype=str(jnp.result_type(value)),
        density_shape=jnp.broadcast_shapes(fn.batch_shape, jnp.shape(value)[:batch]),
        unconstrained=tuple(biject_to(fn.support).inverse_shape(jnp.shape(value)))
        if continuous
        else (),
        plates=plates,
        enumerated=discrete and site["infer"].get("enumerate") == "parallel",
    )


def _family(fn: Any) -> str:
    """The name of the distribution under any wrappers that only change its shape."""
    while type(fn).__name__ in ("ExpandedDistribution", "Independent", "MaskedDistribution"):
        fn = fn.base_dist
    return type(fn).__name__


def _culprits(model: Callable[..., Any], arguments: Callable[[jax.Array], dict[str, Any]]) -> str:
    """The latents, or else the inputs, whose value the model's Python needs.

    Runs the model on numbers with one of them at a time under `vmap`, where only what depends on
    that one is abstract, and sees which runs fail.
    """
    kwargs = arguments(jr.key(0))
    try:
        trace = handlers.trace(handlers.seed(model, jr.key(1))).get_trace(**kwargs)
    except Exception:
        return ""
    latents = {
        n: s["value"] for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]
    }

    def needed(name: str, value: Any, run: Callable[[Any], Any]) -> bool:
        try:
            jax.vmap(lambda v: run({name: v}) or 0)(jnp.asarray(value)[None])
        except _CONTROL_FLOW:
            return True
        except Exception:
            return False
        return False

    def place(changed: dict[str, Any]) -> None:
        handlers.seed(handlers.substitute(model, data=latents | changed), jr.key(1))(**kwargs)

    def feed(changed: dict[str, Any]) -> None:
        handlers.seed(handlers.substitute(model, data=latents), jr.key(1))(**(kwargs | changed))

    culprits = [n for n, v in latents.items() if needed(n, v, place)]
    if culprits:
        return f"on the latent {quoted(culprits)}"
    inputs = {n: v for n, v in kwargs.items() if isinstance(v, jax.Array)}
    culprits = [n for n, v in inputs.items() if needed(n, v, feed)]
    return f"on the input {quoted(culprits)}" if culprits else ""


def row_axis(site: Site, other: Site, shape: str = "density_shape") -> int | None:
    """The axis along which a site grows with the number of rows; None when it does not grow.

    Args:
        site, other: the same site of runs with different numbers of rows.
        shape: which shape to compare.
    """
    axes = [
        i
        for i, (a, b) in enumerate(zip(getattr(site, shape), getattr(other, shape), strict=False))
        if a != b
    ]
    return axes[0] if axes else None


def sum_by_row(log_density: jax.Array, axis: int) -> jax.Array:
    """Sums a log density over all axes but that of the rows."""
    moved = jnp.moveaxis(log_density, axis, 0)
    return sum_rightmost(moved, moved.ndim - 1)
