"""Predictions of new rows by draws of a formula's posterior."""

from typing import TYPE_CHECKING, Any

import jax
import jax.random as jr
import numpy as np

from amortppl.errors import DataError
from amortppl.formula.formula import Formula

if TYPE_CHECKING:
    import xarray


def posterior_draws(tree: "xarray.DataTree") -> dict[str, np.ndarray]:
    """Draws of every variable, (S, ...), chains joined.

    Raises:
        DataError: the posterior is of several datasets.
    """
    if "task" in tree["posterior"].dims:
        raise DataError("posterior: it is of several datasets; pick one, as post.isel(task=0)")
    variables = tree["posterior"].dataset.data_vars
    return {str(n): np.asarray(v).reshape(-1, *v.shape[2:]) for n, v in variables.items()}


def predict_rows(form: Formula, tree: "xarray.DataTree", table: Any, seed: int = 0) -> np.ndarray:
    """Draws of the outcome of new rows, (S, N).

    Args:
        form: the formula.
        tree: what `ap.fit` returned of it.
        table: the new rows; the outcome need not be there.
        seed: of the draws.

    Raises:
        DataError: the rows lack a column, or have a level that was not there.
    """
    from numpyro.infer import Predictive

    inputs = form.inputs(table)
    sampler = Predictive(form.model, posterior_draws(tree), return_sites=[form.argument])
    draws = jax.jit(lambda key: sampler(key, **inputs)[form.argument])
    return np.asarray(draws(jr.fold_in(jr.key(seed), 17)))


def add_predictions(tree: "xarray.DataTree", form: Formula, table: Any, seed: int) -> None:
    """Adds the group `predictions` to a posterior: the outcome of new rows, labelled by their
    index.
    """
    import xarray as xr

    draws = predict_rows(form, tree, table, seed)[None]
    index = list(getattr(table, "index", range(draws.shape[2])))
    values = {form.argument: (["chain", "draw", "row"], draws)}
    tree["predictions"] = xr.DataTree(xr.Dataset(values, coords={"row": index}))
