"""Transforms: torch's and Pyro's as NumPyro's."""

from collections.abc import Callable
from typing import Any

import numpyro.distributions.transforms as jax_transforms
import pyro.distributions.transforms as transforms
import torch.distributions.transforms as torch_transforms

from amortppl.errors import ModelError
from amortppl.pyro.environment import to_jax

PLAIN = {
    torch_transforms.AbsTransform: jax_transforms.AbsTransform,
    torch_transforms.CorrCholeskyTransform: jax_transforms.CorrCholeskyTransform,
    torch_transforms.ExpTransform: jax_transforms.ExpTransform,
    torch_transforms.LowerCholeskyTransform: jax_transforms.LowerCholeskyTransform,
    torch_transforms.SigmoidTransform: jax_transforms.SigmoidTransform,
    torch_transforms.SoftplusTransform: jax_transforms.SoftplusTransform,
    torch_transforms.StickBreakingTransform: jax_transforms.StickBreakingTransform,
    transforms.CholeskyTransform: jax_transforms.CholeskyTransform,
    transforms.CorrMatrixCholeskyTransform: jax_transforms.CorrMatrixCholeskyTransform,
    transforms.OrderedTransform: jax_transforms.OrderedTransform,
    transforms.SimplexToOrderedTransform: jax_transforms.SimplexToOrderedTransform,
    transforms.SoftplusLowerCholeskyTransform: jax_transforms.SoftplusLowerCholeskyTransform,
}
"""Transforms without numbers."""


def _tanh(_: Any) -> Any:
    """tanh x = 2 / (1 + exp(-2 x)) - 1."""
    double, squash = jax_transforms.AffineTransform(0.0, 2.0), jax_transforms.SigmoidTransform()
    return jax_transforms.ComposeTransform(
        [double, squash, jax_transforms.AffineTransform(-1.0, 2.0)]
    )


def _affine(t: Any) -> Any:
    return _power(jax_transforms.AffineTransform(to_jax(t.loc), to_jax(t.scale)), t.event_dim)


def _power(transform: Any, axes: int) -> Any:
    return jax_transforms.IndependentTransform(transform, axes) if axes else transform


MADE: dict[Any, Callable[[Any], Any]] = {
    torch_transforms.AffineTransform: _affine,
    torch_transforms.ComposeTransform: lambda t: jax_transforms.ComposeTransform(
        [to_numpyro_transform(p) for p in t.parts]
    ),
    torch_transforms.IndependentTransform: lambda t: _power(
        to_numpyro_transform(t.base_transform), t.reinterpreted_batch_ndims
    ),
    torch_transforms.PowerTransform: lambda t: jax_transforms.PowerTransform(to_jax(t.exponent)),
    torch_transforms.ReshapeTransform: lambda t: jax_transforms.ReshapeTransform(
        tuple(t.out_shape), tuple(t.in_shape)
    ),
    torch_transforms.TanhTransform: _tanh,
    torch_transforms._InverseTransform: lambda t: to_numpyro_transform(t._inv).inv,
    transforms.LowerCholeskyAffine: lambda t: jax_transforms.LowerCholeskyAffine(
        to_jax(t.loc), to_jax(t.scale_tril)
    ),
    transforms.Permute: lambda t: jax_transforms.PermuteTransform(to_jax(t.permutation)),
}
"""Transforms that need numbers or other transforms."""


def to_numpyro_transform(transform: Any) -> Any:
    """NumPyro's counterpart of a transform.

    Raises:
        ModelError: it has none.
    """
    kind = type(transform)
    if kind in PLAIN:
        return PLAIN[kind]()
    if kind in MADE:
        return MADE[kind](transform)
    known = sorted(k.__name__.strip("_") for k in (*PLAIN, *MADE))
    raise ModelError(
        f"the transform {kind.__name__} has no counterpart in NumPyro; there are {', '.join(known)}"
    )
