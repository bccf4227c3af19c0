"""Priors of simulators: a NumPyro or Pyro program without data, or distributions by name."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import numpyro.handlers as handlers
from jaxtyping import Array, PRNGKeyArray
from numpyro.distributions.constraints import Constraint

from amortppl.errors import ModelError
from amortppl.pyro import from_pyro, is_pyro
from amortppl.runtime.seeds import seed_key

BLOCK = 256
"""Draws made in one compiled call."""


class PriorSite(NamedTuple):
    """What is known of a latent before any simulation.

    Attributes:
        shape: of its value.
        support: None where it is another in every draw, or where the site is deterministic.
        discrete: whether its values can be counted.
        sampled: whether it is drawn, and not computed from others.
    """

    shape: tuple[int, ...]
    support: Constraint | None
    discrete: bool
    sampled: bool


class Prior:
    """p(theta), which can be drawn from by the number of the draw.

    >>> prior = Prior({"rate": dist.Exponential(1.0)})
    >>> prior.sites["rate"].shape, prior.block(seed=0, number=0)["rate"].shape
    ((), (256,))

    Raises:
        ModelError: no distribution, or a program that fails or draws nothing.
    """

    def __init__(self, prior: Any) -> None:
        self.program = _program(prior)
        self.sites = self._look()

    def draw(self, key: PRNGKeyArray) -> dict[str, Array]:
        """One draw of all sites by name. Jit- and vmap-able."""
        return {n: s["value"] for n, s in self._trace(key).items()}

    def complete(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The values of all sites where those that are drawn have these. Jit- and vmap-able."""
        program = handlers.substitute(self.program, data=dict(values))
        trace = self._trace(jr.key(0), program)
        return {n: s["value"] for n, s in trace.items()}

    def log_density(self, values: Mapping[str, Array]) -> Array:
        """Log density of the latents that are drawn. Jit- and vmap-able."""
        program = handlers.substitute(self.program, data=dict(values))
        sites = [s for s in self._trace(jr.key(0), program).values() if s["type"] == "sample"]
        return sum((jnp.sum(s["fn"].log_prob(s["value"])) for s in sites), jnp.zeros(()))

    def block(self, seed: int, number: int) -> dict[str, np.ndarray]:
        """Draws `number * BLOCK` up to the next block's, by name."""
        keys = jr.split(jr.fold_in(jr.fold_in(seed_key(seed), 1), number), BLOCK)
        drawn = {n: np.asarray(v) for n, v in self._drawn(keys).items()}
        return {n: v.astype(np.float64) if v.dtype.kind == "f" else v for n, v in drawn.items()}

    @cached_property
    def _drawn(self) -> Callable[[PRNGKeyArray], dict[str, Array]]:
        return jax.jit(jax.vmap(self.draw))

    def _trace(self, key: PRNGKeyArray, program: Any = None) -> dict[str, dict]:
        with handlers.block():
            trace = handlers.trace(handlers.seed(program or self.program, key)).get_trace()
        return {n: s for n, s in trace.items() if s["type"] in ("sample", "deterministic")}

    def _look(self) -> dict[str, PriorSite]:
        try:
            jax.eval_shape(self.draw, jr.key(0))
            first, other = (self._trace(key) for key in jr.split(jr.key(7)))
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"prior: it fails when it is drawn from ({type(error).__name__}: {error}). It is a "
                "NumPyro program without arguments, or distributions by name"
            ) from error
        if not any(s["type"] == "sample" for s in first.values()):
            raise ModelError("prior: expected at least one latent, and it draws nothing")
        return {n: _site(site, other[n]) for n, site in first.items()}


def _site(first: dict, other: dict) -> PriorSite:
    shape = np.shape(first["value"])
    if first["type"] == "deterministic":
        return PriorSite(shape, None, False, False)
    supports = first["fn"].support, other["fn"].support
    fixed = bool(supports[0] == supports[1])
    return PriorSite(shape, supports[0] if fixed else None, supports[0].is_discrete, True)


def _program(prior: Any) -> Callable[[], Any]:
    if isinstance(prior, Mapping):
        wrong = next((n for n, d in prior.items() if not isinstance(d, dist.Distribution)), None)
        if wrong is not None or not prior:
            came = f"{wrong!r} with {type(prior[wrong]).__name__}" if prior else "an empty dict"
            raise ModelError(
                "prior: expected numpyro.distributions by name, as in "
                f'{{"rate": dist.Exponential(1.0)}}, got {came}'
            )
        return lambda: [numpyro.sample(n, d) for n, d in prior.items()]
    if not callable(prior):
        raise ModelError(
            "prior: expected a NumPyro program without arguments, or distributions by name, got "
            f"{type(prior).__name__}"
        )
    return from_pyro(prior) if is_pyro(prior) else prior
