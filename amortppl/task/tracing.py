"""A model's sites, read by running it on abstract values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.handlers as handlers
from numpyro.primitives import Messenger

from amortppl.errors import ModelError, quoted
from amortppl.runtime.seeds import seed_key
from amortppl.task.free_numbers import free_numbers

_CONTROL_FLOW = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
WRAPPERS = ("ExpandedDistribution", "Independent", "MaskedDistribution", "Grouped")
"""Distributions that change the shape of another, or which of its values count."""

_TRACEABLE = "use jnp.where or jax.lax.cond / scan on values, so that JAX can trace the model"

_COUNTED = (
    " (if that counts the groups of {0!r}: write their number as an argument 'n_{0}', which "
    "ap.fit counts; ap.Task takes groups={{{0!r}: (fewest, most)}} in place of an input)"
)


class LastSite(Messenger):
    """Notes the sample site that a model has come to, for the message when it fails."""

    name: str | None = None
    family = ""

    def process_message(self, msg: Any) -> None:
        """Takes the name of a site, and that of its distribution, before it is sampled."""
        if msg["type"] == "sample":
            self.name, self.family = msg["name"], type(msg["fn"]).__name__

    def describe(self) -> str:
        """Where the model is, in words."""
        return f" at or after the site {self.name!r}" if self.name else " before its first site"


@dataclass(frozen=True)
class Site:
    """One sample or deterministic site, without its values.

    Attributes:
        shape: of the value.
        density_shape: of its log density (sample sites): one entry per independent draw.
        unconstrained: shape after mapping the support to the real line (latents).
        plates: plate name by axis of the value, counted from the left.
        enumerated: whether the model asks to sum its values out.
        finite: whether its values are finitely many (discrete sites).
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
    finite: bool = False

    def is_chain(self, longer: "Site") -> bool:
        """Whether it is a discrete value for each row that no plate holds, as in a `scan`."""
        return self.finite and not self.plates and self.shape != longer.shape


def abstract_sites(
    model: Callable[..., Any], arguments: Callable[[jax.Array], dict[str, Any]]
) -> dict[str, Site]:
    """The sites of `model(**arguments(key))` in order, from a run on abstract values.

    Raises:
        ModelError: the model fails, or needs the value of a latent or an input in Python.
    """
    sites: dict[str, Site] = {}

    def run(key: jax.Array) -> None:
        kwargs = arguments(jr.fold_in(key, 0))
        trace = handlers.trace(handlers.seed(model, jr.fold_in(key, 1))).get_trace(**kwargs)
        for name, site in trace.items():
            if site["type"] in ("sample", "deterministic"):
                sites[name] = _site(name, site)

    try:
        jax.eval_shape(run, seed_key(0))
    except _CONTROL_FLOW as error:
        where = _name_culprits(model, arguments) or "on a latent or an input"
        line = str(error).splitlines()[0]
        raise ModelError(
            f"the model has Python control flow {where}: {line}. "
            f"{_TRACEABLE[0].upper()}{_TRACEABLE[1:]}. A simulator in NumPy or another language "
            "is a task by Task.from_simulator(prior, simulator)."
        ) from error
    return sites


def _site(name: str, site: dict) -> Site:
    shape, dtype = jnp.shape(site["value"]), str(jnp.result_type(site["value"]))
    if site["type"] == "deterministic":
        return Site(name, "deterministic", "", "", False, False, shape, dtype, (), (), {})
    fn, observed = site["fn"], bool(site["is_observed"])
    discrete = bool(getattr(fn.support, "is_discrete", False))
    batch = len(shape) - fn.event_dim
    return Site(
        name=name,
        kind="sample",
        distribution=_family(fn),
        support=type(fn.support).__name__.strip("_"),
        discrete=discrete,
        observed=observed,
        shape=shape,
        dtype=dtype,
        density_shape=jnp.broadcast_shapes(fn.batch_shape, shape[:batch]),
        unconstrained=() if observed else tuple(free_numbers(fn.support).inverse_shape(shape)),
        plates=_plates(site["cond_indep_stack"], batch),
        enumerated=discrete and site["infer"].get("enumerate") == "parallel",
        finite=discrete and bool(fn.has_enumerate_support),
    )


def _plates(frames: Any, batch: int) -> dict[int, str]:
    """Names of plates by axis from the left, of a site with so many batch axes."""
    return {batch + frame.dim: frame.name for frame in frames if batch + frame.dim >= 0}


def _family(fn: Any) -> str:
    """The name of the distribution under any wrappers that only change its shape."""
    while type(fn).__name__ in WRAPPERS:
        fn = fn.base_dist
    return type(fn).__name__


def _name_culprits(
    model: Callable[..., Any], arguments: Callable[[jax.Array], dict[str, Any]]
) -> str:
    """The latents, or else the inputs, whose value the model's Python needs, in words.

    Runs the model on numbers with one of them at a time under `vmap`, where only what depends on
    that one is abstract, and looks which runs fail.
    """
    kwargs = arguments(jr.key(0))
    try:
        trace = handlers.trace(handlers.seed(model, jr.key(1))).get_trace(**kwargs)
    except Exception:
        return ""
    samples = {n: s for n, s in trace.items() if s["type"] == "sample"}
    latents = {n: s["value"] for n, s in samples.items() if not s["is_observed"]}

    def run(latents: dict[str, Any], kwargs: dict[str, Any]) -> None:
        handlers.seed(handlers.substitute(model, data=latents), jr.key(1))(**kwargs)

    culprits = _needed(latents, lambda changed: run({**latents, **changed}, kwargs))
    if culprits:
        return f"on the latent {quoted(culprits)}"
    inputs = {n: v for n, v in kwargs.items() if isinstance(v, jax.Array)}
    culprits = _needed(inputs, lambda changed: run(latents, {**kwargs, **changed}))
    counted = [n for n in culprits if jnp.issubdtype(inputs[n].dtype, jnp.integer)]
    hint = _COUNTED.format(*counted) if len(counted) == 1 else ""
    return f"on the input {quoted(culprits)}{hint}" if culprits else ""


def _needed(values: dict[str, Any], run: Callable[[dict[str, Any]], None]) -> list[str]:
    """Names of the values that a run needs as numbers: it fails when they are abstract."""

    def fails(name: str) -> bool:
        try:
            jax.vmap(lambda v: run({name: v}) or 0)(jnp.asarray(values[name])[None])
        except _CONTROL_FLOW:
            return True
        except Exception:
            return False
        return False

    return [name for name in values if fails(name)]


def row_axis(site: Site, other: Site, shape: str = "density_shape") -> int | None:
    """The axis along which a site grows with the number of rows, or None.

    Args:
        site, other: the same site of runs with different numbers of rows.
        shape: the name of the shape to compare.
    """
    sizes = zip(getattr(site, shape), getattr(other, shape), strict=False)
    return next((axis for axis, (a, b) in enumerate(sizes) if a != b), None)


def sum_by_row(log_density: jax.Array, axis: int) -> jax.Array:
    """Sums a log density over all axes but that of the rows."""
    moved = jnp.moveaxis(log_density, axis, 0)
    return jnp.sum(moved, axis=tuple(range(1, moved.ndim)))
