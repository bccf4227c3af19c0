"""A guide as a guide of Pyro: for SVI, Importance, Predictive, and as the start of MCMC.

JAX draws the latents and their log density; torch sees them as a function of the guide's weights,
whose gradient is JAX's vector-Jacobian product.
"""

import inspect
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pyro.distributions as dist
import torch
from jax.flatten_util import ravel_pytree
from pyro.poutine import runtime
from pyro.poutine.indep_messenger import IndepMessenger
from torch.autograd.function import once_differentiable

import pyro
from amortppl.errors import DataError
from amortppl.method import final
from amortppl.task.batch import Batch

WEIGHTS = "amortppl_weights"
DENSITY = "amortppl_log_density"


class Places(NamedTuple):
    """Plates around the guide's call that the model does not have, such as particles.

    Attributes:
        shape: a batch shape with each plate's size at its place and 1 elsewhere.
    """

    shape: tuple[int, ...]

    @property
    def draws(self) -> int:
        """The number of draws, one for each entry."""
        return math.prod(self.shape)

    def spread(self, draws: torch.Tensor, own: tuple[int, ...], batch: int) -> torch.Tensor:
        """S draws of a site along the plates' axes.

        Args:
            draws: the draws, (S, *own).
            own: the site's own shape.
            batch: how many of its axes, the first ones, are the model's plates.

        Raises:
            DataError: a plate around lies where the model has its own.
        """
        gap = max(0, len(self.shape) - batch)
        if any(size > 1 for size in self.shape[gap:]):
            where = "lies where the model has its own plates"
            raise DataError(f"guide: a plate around it, of shape {self.shape}, {where}")
        return draws.reshape(self.shape[:gap] + own)


class PyroGuide:
    """The guide of a task, callable as Pyro calls guides: with the model's arguments.

    Each latent is a site of the model's name, shape and plates; the log density is on the auxiliary
    site `amortppl_log_density`. The weights are `pyro.param("amortppl_weights")`, so SVI fine-tunes
    them. Random numbers come from torch's generator. Under plates that the model does not have
    (vectorised particles, parallel Predictive), each entry is a draw of its own.

    Args:
        guide: the trained guide; it is not changed.

    Example:
        >>> import amortppl as ap
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), "laplace", progress=False)
        >>> latents = guide.to_pyro()(4, torch.tensor([0.3, -0.2, 1.1, 0.4]))
        >>> latents["mean"].shape
        torch.Size([])
    """

    def __init__(self, guide: Any) -> None:
        self.guide, self.task = guide, guide.task
        self.__name__ = f"{guide.__name__}_pyro"
        self.signature = inspect.signature(self.task.model)
        learned, rest = eqx.partition(guide.method, eqx.is_inexact_array)
        self.initial, restore = ravel_pytree(learned)
        self.nesting = max(
            len(s.density_shape) for s in self.task.sites.values() if s.kind == "sample"
        )

        def draw(
            weights: jax.Array, key: jax.Array, data: Any, draws: int
        ) -> tuple[Any, jax.Array]:
            return _draw(eqx.combine(restore(weights), rest), key, data, draws)

        def slope(
            weights: jax.Array, key: jax.Array, data: Any, draws: int, upstream: Any
        ) -> jax.Array:
            return jax.vjp(lambda w: draw(w, key, data, draws), weights)[1](upstream)[0]

        self.draw, self.slope = jax.jit(draw, static_argnums=3), jax.jit(slope, static_argnums=3)

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Samples the latents of a dataset.

        Raises:
            DataError: an observation or input is missing; a plate around the call collides with the
                model's.
        """
        data, like = self._data(args, kwargs)
        places = _enclosing_plates()
        weights = pyro.param(WEIGHTS, lambda: _to_torch(self.initial, like.device, torch.float32))
        key = jr.key(int(torch.randint(2**31 - 1, ())))
        *values, density = _Draws.apply(self, key, data, places.draws, weights)
        latents = dict(zip(self.task.latents.names, (v.to(like) for v in values), strict=True))
        self._density(places, density.to(like))
        return {name: self._site(name, value, places) for name, value in latents.items()}

    def start_nuts(
        self, data: Any, chains: int = 1, seed: int = 0, *, model: Any = None, **options: Any
    ) -> tuple[Any, dict[str, torch.Tensor]]:
        """A kernel of Pyro's NUTS and initial parameters that start from this dataset's posterior.

        Args:
            data: the dataset, a dict of arrays or tensors by argument.
            chains: the number of chains; each starts at a draw from the guide.
            seed: the seed of the draws.
            model: the Pyro model, where the guide was trained on a NumPyro model.
            options: further options of `pyro.infer.NUTS`. Where k-hat is above 0.7,
                `adapt_mass_matrix=True` with a warm-up of some hundreds of steps.

        Returns:
            (kernel, initial_params) for `pyro.infer.MCMC(kernel, ...,
            initial_params=initial_params, num_chains=chains).run(**data)`. The mass matrix is the
            guide's covariance and stays.
        """
        from amortppl.guide.pyro_nuts import start_pyro_nuts

        return start_pyro_nuts(self, data, chains, seed, model, options)

    def _data(self, args: Any, kwargs: Any) -> tuple[dict[str, jax.Array], torch.Tensor]:
        """The data by argument as JAX arrays, and a tensor like the model's own numbers."""
        bound = self.signature.bind(*args, **kwargs).arguments
        missing = [n for n in self.task.arguments if bound.get(n) is None]
        if missing:
            reason = "is needed, because the guide reads the data"
            raise DataError(f"guide: the model's argument {missing[0]!r} {reason}")
        data = {n: bound[n] for n in self.task.arguments}
        arrays = {n: _to_jax(v) for n, v in data.items()}
        if self.task.block:
            arrays = {n: v[None] for n, v in arrays.items()}
        return arrays, _like(data.values())

    def _site(self, name: str, value: torch.Tensor, places: Places) -> torch.Tensor:
        """A latent's site, inside the plates that the model has it in."""
        about = self.task.sites[name]
        batch = len(about.density_shape)
        value = places.spread(value, about.shape, batch)
        plates = [
            pyro.plate(p, about.shape[a], dim=a - batch) for a, p in sorted(about.plates.items())
        ]
        with _Plates(plates):
            return pyro.sample(name, dist.Delta(value, event_dim=len(about.shape) - batch))

    def _density(self, places: Places, density: torch.Tensor) -> None:
        """Samples a site with the density log q.

        It stands in as many plates of one entry as the model nests, so that Pyro places its own.
        """
        density = places.spread(density, (1,) * self.nesting, self.nesting)
        plates = [IndepMessenger(f"{DENSITY}_{i}", 1, dim=-i) for i in range(1, self.nesting + 1)]
        with _Plates(plates):
            fn = dist.Delta(torch.zeros_like(density), log_density=density)
            pyro.sample(DENSITY, fn, infer={"is_auxiliary": True})


class _Draws(torch.autograd.Function):
    """Draws of all latents and their log density, differentiable in the weights."""

    @staticmethod
    def forward(
        ctx: Any, guide: PyroGuide, key: Any, data: Any, draws: int, weights: torch.Tensor
    ) -> Any:
        ctx.call = guide, key, data, draws
        ctx.save_for_backward(weights)
        values, density = guide.draw(_to_jax(weights), key, data, draws)
        outputs = [values[n] for n in guide.task.latents.names]
        return tuple(_to_torch(v, weights.device, torch.float32) for v in (*outputs, density))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: torch.Tensor) -> Any:
        guide, key, data, draws = ctx.call
        (weights,) = ctx.saved_tensors
        *values, density = (_to_jax(g) for g in upstream)
        slopes = dict(zip(guide.task.latents.names, values, strict=True)), density
        slope = guide.slope(_to_jax(weights), key, data, draws, slopes)
        return None, None, None, None, _to_torch(slope, weights.device, weights.dtype)


def _draw(method: Any, key: jax.Array, data: Any, draws: int) -> tuple[Any, jax.Array]:
    """S draws of each latent, and log q of each in the latents' own space."""
    rows = next(iter(data.values())).shape[0]
    posterior = method.readout(final(method, Batch(data, jnp.ones(rows, bool))))
    vectors, _ = posterior.sample(key, draws)
    values, jacobians = jax.vmap(lambda v: method.task.sites_at(v, data))(vectors)
    return values, jax.vmap(posterior.log_prob)(vectors) - sum(jacobians.values())


def _enclosing_plates() -> Places:
    """The plates that the call stands in."""
    plates = [
        (h, h.dim)
        for h in runtime._PYRO_STACK
        if isinstance(h, IndepMessenger) and h.dim is not None
    ]
    shape = [1] * max((-dim for _, dim in plates), default=0)
    for plate, dim in plates:
        shape[dim] = int(getattr(plate, "subsample_size", plate.size))
    return Places(tuple(shape))


class _Plates:
    """Several plates, entered one in the other."""

    def __init__(self, plates: list[Any]) -> None:
        self.plates = plates

    def __enter__(self) -> None:
        for plate in self.plates:
            plate.__enter__()

    def __exit__(self, *error: Any) -> None:
        for plate in reversed(self.plates):
            plate.__exit__(*error)


def _like(values: Iterable[Any]) -> torch.Tensor:
    """An empty tensor with the device of the tensors, and the type of their real numbers."""
    tensors = [v for v in values if isinstance(v, torch.Tensor)]
    floats = [v for v in tensors if v.is_floating_point()]
    device = tensors[0].device if tensors else None
    return torch.empty(0, device=device, dtype=floats[0].dtype if floats else None)


def _to_jax(value: Any) -> jax.Array:
    """A copy as a JAX array (torch may write into its own)."""
    return jnp.array(value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value)


def _to_torch(value: Any, device: Any, dtype: Any) -> torch.Tensor:
    """A copy as a tensor on a device."""
    return torch.from_numpy(np.array(value)).to(device=device, dtype=dtype)
