"""Formulas compared on the same rows: leave-one-out predictions and evidence."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from amortppl.errors import DataError
from amortppl.trust.leave_one_out import leave_one_out, standard_error

if TYPE_CHECKING:
    import xarray


def compare_fits(trees: Mapping[str, "xarray.DataTree"]) -> pd.DataFrame:
    """Expected log predictive density by PSIS-LOO, and log evidence, of several posteriors.

    Vehtari, Gelman and Gabry 2017, "Practical Bayesian model evaluation using leave-one-out
    cross-validation and WAIC".

    Args:
        trees: what `ap.fit` returned, by name, each of the same outcome in the same rows.

    Returns:
        A row for each, the best first: `elpd`, its standard error `se`, the difference from the
        best and its standard error, rows whose Pareto k is above 0.7, and `log_evidence`.

    Raises:
        DataError: the outcomes differ, or a posterior has no log likelihood.

    Example:
        >>> import amortppl as ap, pandas as pd
        >>> table = pd.DataFrame({"x": range(8), "y": [0.1, 1.2, 1.9, 3.1, 4.0, 5.2, 5.8, 7.1]})
        >>> fits = {text: ap.fit(text, table) for text in ("y ~ 1", "y ~ x")}
        >>> ap.compare_fits(fits).index.tolist()
        ['y ~ x', 'y ~ 1']
    """
    _expect_same_outcome(trees)
    results = {name: leave_one_out(_by_row(tree)) for name, tree in trees.items()}
    each = {name: loo.elpd for name, loo in results.items()}
    best = max(each, key=lambda n: each[n].sum())
    rows = {}
    for name in sorted(each, key=lambda n: -each[n].sum()):
        gap = each[name] - each[best]
        rows[name] = {
            "elpd": each[name].sum(),
            "se": standard_error(each[name]),
            "difference": gap.sum(),
            "se of it": standard_error(gap),
            "k above 0.7": int((results[name].k > 0.7).sum()),
            "log_evidence": float(trees[name]["sample_stats"]["log_evidence"]),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _by_row(tree: "xarray.DataTree") -> np.ndarray:
    """Log likelihoods of the one outcome, (S, N)."""
    (values,) = tree["log_likelihood"].dataset.data_vars.values()
    return np.asarray(values).reshape(values.sizes["chain"] * values.sizes["draw"], -1)


def _expect_same_outcome(trees: Mapping[str, "xarray.DataTree"]) -> None:
    first = None
    for name, tree in trees.items():
        if "log_likelihood" not in tree.children:
            raise DataError(f"compare: {name!r} has no log likelihood; fit fewer draws or rows")
        values = [np.asarray(v) for v in tree["observed_data"].dataset.data_vars.values()]
        if first is not None and not all(map(np.array_equal, first, values)):
            raise DataError(
                f"compare: {name!r} is of other rows or of another outcome than the first; with "
                "missing cells, drop them from the table before"
            )
        first = values
