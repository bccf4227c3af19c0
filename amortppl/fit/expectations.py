"""The expected outcome of rows under each draw of a formula's posterior."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.handlers as handlers
from jaxtyping import Array

from amortppl.fit.new_groups import with_new_levels
from amortppl.fit.predictions import posterior_draws
from amortppl.formula.censored import CensoredAbove
from amortppl.formula.formula import Formula

if TYPE_CHECKING:
    import xarray

WORK = 4_000_000
"""Draws times rows evaluated at once."""


def expect_outcome(
    form: Formula,
    tree: "xarray.DataTree",
    table: Any,
    new_levels: bool = False,
    seed: int | None = 0,
) -> np.ndarray:
    """E[y_i | x_i, theta_s], (S, N); of levels their probabilities, (S, N, K).

    Of a binomial it is the share of one trial; of censored times, the mean of the time itself.

    Args:
        form: the formula.
        tree: what `ap.fit` returned of it.
        table: the rows; the outcome need not be there.
        new_levels: whether groups may have levels that did not occur.
        seed: of the effects of such levels; None makes them zero.

    Raises:
        DataError: the rows lack a column, or have a level that was not there.
    """
    inputs = form.inputs(table, new_levels)
    draws = with_new_levels(form, posterior_draws(tree), inputs, seed)
    return expect_of_inputs(form, draws, inputs)


def expect_of_inputs(
    form: Formula, draws: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray]
) -> np.ndarray:
    """`expect_outcome` of the program's inputs."""
    inputs = {n: jnp.asarray(v) for n, v in given.items()}
    rows = len(next(iter(inputs.values())))
    # Some value must be observed, or rows would be drawn in vain.
    inputs[form.argument] = jnp.broadcast_to(jnp.asarray(form.data[form.argument][0]), (rows,))
    values = {n: jnp.asarray(v) for n, v in draws.items()}
    return np.asarray(_expect(form.model, form.argument, max(WORK // rows, 1), values, inputs))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _expect(
    model: Callable[..., Any],
    outcome: str,
    together: int,
    draws: dict[str, Array],
    inputs: dict[str, Array],
) -> Array:
    """The expectations of a site by draw. Compiled once for a model and so many rows: contrasts and
    slopes evaluate the same rows several times.
    """

    def one(values: dict[str, Array]) -> Array:
        seeded = handlers.seed(handlers.substitute(model, data=values), jax.random.key(0))
        return expectation(handlers.trace(seeded).get_trace(**inputs)[outcome]["fn"])

    return jax.lax.map(one, draws, batch_size=together)


def expectation(distribution: Any) -> Array:
    """The mean of a distribution of numbers; the probabilities of one of levels.

    >>> import numpyro.distributions as dist
    >>> float(expectation(dist.Normal(2.0, 1.0)))
    2.0
    """
    distribution = distribution.base if isinstance(distribution, CensoredAbove) else distribution
    probabilities = getattr(distribution, "probs", None)
    if probabilities is not None and jnp.ndim(probabilities) > len(distribution.batch_shape):
        return probabilities
    return distribution.mean
