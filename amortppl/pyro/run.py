"""What one run of a bridged model keeps."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.random as jr
import numpyro
import numpyro.primitives
from numpyro.handlers import seed

from amortppl.errors import ModelError


@dataclass
class Run:
    """One run of one model.

    Attributes:
        plates: NumPyro's plates by name, to be entered again around each site.
        lifted: torch weights that are parameters now, by identity, and their values as tensors of
            the model.
        weights: those weights themselves, so that no other object takes their identity.
        site: the site being handed over, for messages.
        latents: latents sampled so far.
        markov: NumPyro's counterparts of the `pyro.markov` contexts that are open.
        gradients: False inside `torch.no_grad`.
    """

    plates: dict[str, Any] = field(default_factory=dict)
    lifted: dict[int, Any] = field(default_factory=dict)
    weights: list[Any] = field(default_factory=list)
    site: str | None = None
    latents: list[str] = field(default_factory=list)
    markov: list[tuple[Any, Any]] = field(default_factory=list)
    gradients: bool = True
    _key: jax.Array | None = None

    def key(self) -> jax.Array:
        """A fresh key for randomness outside the sample sites.

        Raises:
            ModelError: nobody gave the model a key.
        """
        if self._key is None and any(isinstance(h, seed) for h in numpyro.primitives._PYRO_STACK):
            self._key = numpyro.prng_key()
        if self._key is None:
            raise ModelError(
                "the model draws random numbers outside its sample sites, and there is no key: run "
                "it under "
                "numpyro.handlers.seed, or give `rng_seed`"
            )
        self._key, fresh = jr.split(self._key)
        return fresh
