"""Supports: torch's constraints as NumPyro's."""

from collections.abc import Callable
from typing import Any

import numpyro.distributions.constraints as jax_constraints
import pyro.distributions.constraints as constraints

from amortppl.errors import ModelError
from amortppl.pyro.environment import to_jax

FIXED = {
    "real": "real",
    "positive": "positive",
    "nonnegative": "nonnegative",
    "unit_interval": "unit_interval",
    "simplex": "simplex",
    "boolean": "boolean",
    "nonnegative_integer": "nonnegative_integer",
    "positive_integer": "positive_integer",
    "lower_cholesky": "lower_cholesky",
    "corr_cholesky": "corr_cholesky",
    "corr_matrix": "corr_matrix",
    "real_vector": "real_vector",
    "positive_definite": "positive_definite",
    "softplus_positive": "softplus_positive",
    "softplus_lower_cholesky": "softplus_lower_cholesky",
    "ordered_vector": "ordered_vector",
    "positive_ordered_vector": "positive_ordered_vector",
    "unit_lower_cholesky": "lower_cholesky",
    "sphere": "sphere",
}
"""Constraints without numbers, by their name in Pyro and in NumPyro."""

BOUNDED: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "_GreaterThan": (jax_constraints.greater_than, ("lower_bound",)),
    "_GreaterThanEq": (jax_constraints.greater_than, ("lower_bound",)),
    "_LessThan": (jax_constraints.less_than, ("upper_bound",)),
    "_Interval": (jax_constraints.interval, ("lower_bound", "upper_bound")),
    "_HalfOpenInterval": (jax_constraints.interval, ("lower_bound", "upper_bound")),
    "_IntegerInterval": (jax_constraints.integer_interval, ("lower_bound", "upper_bound")),
    "_IntegerGreaterThan": (jax_constraints.integer_greater_than, ("lower_bound",)),
    "_Multinomial": (jax_constraints.multinomial, ("upper_bound",)),
}
"""Constraints with bounds: NumPyro's, and the attributes that hold the bounds."""


def to_numpyro_support(support: Any) -> Any:
    """NumPyro's counterpart of a constraint of torch or Pyro.

    Raises:
        ModelError: it has none.
    """
    if isinstance(support, constraints.independent):
        return jax_constraints.independent(
            to_numpyro_support(support.base_constraint), support.reinterpreted_batch_ndims
        )
    for name, counterpart in FIXED.items():
        if support is getattr(constraints, name, None) and hasattr(jax_constraints, counterpart):
            return getattr(jax_constraints, counterpart)
    kind = type(support).__name__
    if kind == "_OneHot":
        return jax_constraints.multinomial(1)
    if kind in BOUNDED:
        make, bounds = BOUNDED[kind]
        return make(*(to_jax(getattr(support, b)) for b in bounds))
    raise ModelError(f"the support {support} has no counterpart in NumPyro")
