"""Distributions: each one of Pyro as NumPyro's of the same law, part by part."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as jax_dist
import pyro.distributions as dist
import torch.distributions as torch_dist

from amortppl.errors import ModelError, nearest
from amortppl.pyro import torch_distributions
from amortppl.pyro.environment import to_jax
from amortppl.pyro.supports import to_numpyro_support
from amortppl.pyro.transforms import to_numpyro_transform

SAME = {
    "AsymmetricLaplace": "loc scale asymmetry",
    "Beta": "concentration1 concentration0",
    "Cauchy": "loc scale",
    "Chi2": "df",
    "Dirichlet": "concentration",
    "Exponential": "rate",
    "Gamma": "concentration rate",
    "GammaPoisson": "concentration rate",
    "Gumbel": "loc scale",
    "HalfCauchy": "scale",
    "HalfNormal": "scale",
    "InverseGamma": "concentration rate",
    "Kumaraswamy": "concentration1 concentration0",
    "Laplace": "loc scale",
    "LogNormal": "loc scale",
    "Logistic": "loc scale",
    "MultivariateStudentT": "df loc scale_tril",
    "Normal": "loc scale",
    "OrderedLogistic": "predictor cutpoints",
    "Pareto": "scale alpha",
    "Poisson": "rate",
    "ProjectedNormal": "concentration",
    "SoftLaplace": "loc scale",
    "StudentT": "df loc scale",
    "Uniform": "low high",
    "VonMises": "loc concentration",
    "Weibull": "scale concentration",
}
"""Distributions whose name and parameters are the same in Pyro and NumPyro."""

Converter = Callable[[Any], Any]


def _same(name: str, parameters: list[str]) -> Converter:
    make = getattr(jax_dist, name)
    return lambda d: make(**{p: to_jax(getattr(d, p)) for p in parameters}, validate_args=False)


def _weights(d: Any) -> dict[str, Any]:
    """Logits or probabilities, whichever the user gave."""
    name = "logits" if "logits" in d.__dict__ else "probs"
    return {name: to_jax(getattr(d, name))}


def _count(value: Any) -> Any:
    """A number of trials: torch allows floats."""
    return jnp.asarray(to_jax(value)).astype(int)


def _gate(d: Any) -> dict[str, Any]:
    name = "gate_logits" if "gate_logits" in d.__dict__ else "gate"
    return {name: to_jax(getattr(d, name))}


def _multinomial(d: Any) -> Any:
    weights = _weights(d._categorical)
    return jax_dist.Multinomial(int(d.total_count), **weights, validate_args=False)


def _negative_binomial(d: Any) -> Any:
    count = jnp.asarray(to_jax(d.total_count)).astype(float)
    return jax_dist.NegativeBinomial(count, **_weights(d), validate_args=False)


def _low_rank(d: Any) -> Any:
    parts = [to_jax(v) for v in (d.loc, d._unbroadcasted_cov_factor, d._unbroadcasted_cov_diag)]
    return jax_dist.LowRankMultivariateNormal(*parts, validate_args=False)


def _beta_binomial(d: Any) -> Any:
    shapes = to_jax(d.concentration1), to_jax(d.concentration0)
    return jax_dist.BetaBinomial(*shapes, _count(d.total_count), validate_args=False)


def _dirichlet_multinomial(d: Any) -> Any:
    given = to_jax(d.total_count)
    known = (
        None if isinstance(given, jax.core.Tracer) else int(np.asarray(given).max())
    )  # NumPyro draws at most so many
    concentration, count = to_jax(d.concentration), _count(d.total_count)
    return jax_dist.DirichletMultinomial(
        concentration, count, total_count_max=known, validate_args=False
    )


def _logistic_normal(d: Any) -> Any:
    loc, scale = to_jax(d.loc), to_jax(d.scale)
    base = jax_dist.Normal(loc, scale, validate_args=False).to_event(1)
    return jax_dist.TransformedDistribution(
        base, jax_dist.transforms.StickBreakingTransform(), validate_args=False
    )


def _diagonal_mixture(d: Any) -> Any:
    """sum_k w_k N(loc_k, diag(scale_k)^2)."""
    component = jax_dist.Normal(
        to_jax(d.locs), to_jax(d.coord_scale), validate_args=False
    ).to_event(1)
    weights = jax_dist.Categorical(logits=to_jax(d.component_logits), validate_args=False)
    return jax_dist.MixtureSameFamily(weights, component, validate_args=False)


def _mixture(d: Any) -> Any:
    parts = to_numpyro(d.mixture_distribution), to_numpyro(d.component_distribution)
    return jax_dist.MixtureSameFamily(*parts, validate_args=False)


def _transformed(d: Any) -> Any:
    base, steps = to_numpyro(d.base_dist), [to_numpyro_transform(t) for t in d.transforms]
    return jax_dist.TransformedDistribution(base, steps, validate_args=False) if steps else base


def _masked(d: Any) -> Any:
    mask = d._mask
    return to_numpyro(d.base_dist).mask(mask if isinstance(mask, bool | None) else to_jax(mask))


def _improper(d: Any) -> Any:
    shapes = tuple(d.batch_shape), tuple(d.event_shape)
    return jax_dist.ImproperUniform(to_numpyro_support(d.support), *shapes, validate_args=False)


def _nan_masked(d: Any) -> Any:
    """Normal whose log density is 0 where the value is NaN: NumPyro's mask needs the value, see
    `foreign`.
    """
    return torch_distributions.Torch(d)


def _zero_inflated(d: Any) -> Any:
    return jax_dist.ZeroInflatedDistribution(
        to_numpyro(d.base_dist), **_gate(d), validate_args=False
    )


def _bivariate_von_mises(d: Any) -> Any:
    names = ["phi_loc", "psi_loc", "phi_concentration", "psi_concentration", "correlation"]
    return jax_dist.SineBivariateVonMises(
        *(to_jax(getattr(d, n)) for n in names), validate_args=False
    )


CONVERTERS: dict[type, Converter] = {
    dist.Bernoulli: lambda d: jax_dist.Bernoulli(**_weights(d), validate_args=False),
    dist.BetaBinomial: _beta_binomial,
    dist.Binomial: lambda d: jax_dist.Binomial(
        _count(d.total_count), **_weights(d), validate_args=False
    ),
    dist.Categorical: lambda d: jax_dist.Categorical(**_weights(d), validate_args=False),
    dist.Delta: lambda d: jax_dist.Delta(
        to_jax(d.v), to_jax(d.log_density), d.event_dim, validate_args=False
    ),
    dist.DirichletMultinomial: _dirichlet_multinomial,
    dist.FoldedDistribution: lambda d: jax_dist.FoldedDistribution(
        to_numpyro(d.base_dist), validate_args=False
    ),
    dist.Geometric: lambda d: jax_dist.Geometric(**_weights(d), validate_args=False),
    dist.ImproperUniform: _improper,
    dist.LKJ: lambda d: jax_dist.LKJ(
        d.event_shape[-1], to_jax(d.base_dist.concentration), validate_args=False
    ),
    dist.LKJCholesky: lambda d: jax_dist.LKJCholesky(
        d.dim, to_jax(d.concentration), validate_args=False
    ),
    dist.LogisticNormal: _logistic_normal,
    dist.LowRankMultivariateNormal: _low_rank,
    dist.MaskedDistribution: _masked,
    dist.MixtureOfDiagNormals: _diagonal_mixture,
    dist.MixtureSameFamily: _mixture,
    dist.Multinomial: _multinomial,
    dist.MultivariateNormal: lambda d: jax_dist.MultivariateNormal(
        to_jax(d.loc), scale_tril=to_jax(d._unbroadcasted_scale_tril), validate_args=False
    ),
    dist.NegativeBinomial: _negative_binomial,
    dist.RelaxedBernoulli: lambda d: jax_dist.RelaxedBernoulli(
        to_jax(d.temperature), logits=to_jax(d.logits), validate_args=False
    ),
    dist.SineBivariateVonMises: _bivariate_von_mises,
    dist.SineSkewed: lambda d: jax_dist.SineSkewed(
        to_numpyro(d.base_dist), to_jax(d.skewness), validate_args=False
    ),
    dist.TransformedDistribution: _transformed,
    dist.TruncatedPolyaGamma: lambda d: jax_dist.TruncatedPolyaGamma(
        tuple(d.batch_shape), validate_args=False
    ),
    dist.Unit: lambda d: jax_dist.Unit(to_jax(d.log_factor), validate_args=False),
    dist.Wishart: lambda d: jax_dist.Wishart(
        to_jax(d.df), scale_tril=to_jax(d._unbroadcasted_scale_tril), validate_args=False
    ),
    dist.ZeroInflatedDistribution: _zero_inflated,
    dist.ZeroInflatedNegativeBinomial: _zero_inflated,
    dist.ZeroInflatedPoisson: _zero_inflated,
}
"""Distributions with parameters of other names, or made of other distributions."""

CONVERTERS |= {getattr(dist, name): _same(name, p.split()) for name, p in SAME.items()}
CONVERTERS |= {
    getattr(torch_dist, kind.__name__): convert
    for kind, convert in list(CONVERTERS.items())
    if hasattr(torch_dist, kind.__name__)
}


def to_numpyro(d: Any) -> Any:
    """The NumPyro distribution of the same law, batch and event shape.

    Only the very classes of the tables are converted: a subclass may have changed the law.

    Raises:
        ModelError: a class that has no counterpart and was not accepted (`foreign.accept`).
    """
    kind = type(d)
    if kind.__name__ == "ExpandedDistribution":
        return to_numpyro(d.base_dist).expand(tuple(d.batch_shape))
    if isinstance(d, torch_dist.Independent):
        return to_numpyro(d.base_dist).to_event(d.reinterpreted_batch_ndims)
    if kind in CONVERTERS:
        found = CONVERTERS[kind](d)
    elif torch_distributions.is_accepted(d):
        found = torch_distributions.Torch(d)
    else:
        raise unknown(kind)
    shape = tuple(d.batch_shape)
    return found if tuple(found.batch_shape) == shape else found.expand(shape)


def unknown(kind: type) -> ModelError:
    """What to say of a class that is in no table."""
    near = nearest(kind.__name__, [k.__name__ for k in CONVERTERS])
    return ModelError(
        f"{kind.__module__}.{kind.__name__} has no counterpart in NumPyro{near}. Write the site "
        f"with one that has, or "
        f"check it: amortppl.pyro.accept({kind.__name__}(...)) compares its density and sampler "
        f"under JAX with torch's"
    )
