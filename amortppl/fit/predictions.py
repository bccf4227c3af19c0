"""Predictions of new rows by draws of a formula's posterior."""

from typing import TYPE_CHECKING, Any

import jax
import jax.random as jr
import numpy as np
import numpyro.handlers as handlers
from jaxtyping import Array, PRNGKeyArray

from amortppl.errors import DataError
from amortppl.fit.new_groups import with_new_levels
from amortppl.formula.formula import Formula

if TYPE_CHECKING:
    import xarray

BATCH = 256
"""Draws predicted together."""


def posterior_draws(tree: "xarray.DataTree") -> dict[str, np.ndarray]:
    """Draws of every variable, (S, ...), chains joined.

    Raises:
        DataError: the posterior is of several datasets.
    """
    if "task" in tree["posterior"].dims:
        raise DataError("posterior: it is of several datasets; pick one, as post.isel(task=0)")
    variables = tree["posterior"].dataset.data_vars
    return {str(n): np.asarray(v).reshape(-1, *v.shape[2:]) for n, v in variables.items()}


def predict_rows(
    form: Formula,
    tree: "xarray.DataTree",
    table: Any,
    seed: int = 0,
    new_levels: bool = False,
) -> np.ndarray:
    """Draws of the outcome of new rows, (S, N).

    Args:
        form: the formula.
        tree: what `ap.fit` returned of it.
        table: the new rows; the outcome need not be there, but the trials of a binomial.
        seed: of the draws.
        new_levels: whether groups may have levels that did not occur.

    Raises:
        DataError: the rows lack a column or their trials, or have a level that was not there.
    """
    inputs = form.inputs(table, new_levels, trials=True)
    draws = with_new_levels(form, posterior_draws(tree), inputs, seed)

    def one(key: PRNGKeyArray, values: dict[str, Array]) -> Array:
        model = handlers.seed(handlers.substitute(form.model, data=values), key)
        return handlers.trace(model).get_trace(**inputs)[form.argument]["value"]

    count = len(next(iter(draws.values())))
    keys = jr.split(jr.fold_in(jr.key(seed), 17), count)
    several = jax.jit(lambda k, d: jax.lax.map(lambda each: one(*each), (k, d), batch_size=BATCH))
    return np.asarray(several(keys, draws))


def add_predictions(tree: "xarray.DataTree", form: Formula, table: Any, seed: int) -> None:
    """Adds the group `predictions` to a posterior: the outcome of new rows, labelled by their
    index.
    """
    import xarray as xr

    draws = predict_rows(form, tree, table, seed)[None]
    index = list(getattr(table, "index", range(draws.shape[2])))
    values = {form.argument: (["chain", "draw", "row"], draws)}
    tree["predictions"] = xr.DataTree(xr.Dataset(values, coords={"row": index}))
