"""A report of anyone's posterior, or of several side by side, as one HTML page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from amortppl.errors import DataError
from amortppl.report.any_posterior import read_posterior
from amortppl.report.posterior_page import write_report
from amortppl.report.several_posteriors import write_comparison


def report(posterior: Any, path: str | Path = "report.html") -> Path:
    """Writes the report of a posterior as one HTML page that loads nothing.

    The verdict in words comes first: from R-hat, effective sample sizes, divergences, E-BFMI and
    tree depths where the draws are a Markov chain's, from k-hat where they are a guide's. Then
    tables and figures follow, as far as the groups of the tree go: `prior`,
    `posterior_predictive` with `observed_data`, `log_likelihood`, `sample_stats`.

    Args:
        posterior: a posterior in ArviZ's schema, of any library: an `xarray.DataTree`, a path to a
            NetCDF file, a dict of draws, a `numpyro.infer.MCMC` that has run, or what
            `guide.infer` returned for one or many datasets. A list of these, or a dict of them by
            name, is shown side by side.
        path: the HTML file; it is replaced in one move.

    Returns:
        The path.

    Raises:
        DataError: no group `posterior`, no draws in it, or nothing that is a number.
        OSError: a file cannot be read or written.

    Example:
        >>> import amortppl as ap, numpy as np, pathlib, tempfile
        >>> draws = np.random.default_rng(0).normal(size=(4, 500))
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> page = ap.report({"posterior": {"mu": draws}}, folder / "report.html")
        >>> "Good: the chains agree" in page.read_text()
        True
    """
    several = _several(posterior)
    if several is None:
        return write_report(read_posterior(posterior), path)
    if not several:
        raise DataError("report: expected at least one posterior, got none")
    trees = {name: read_posterior(each, name) for name, each in several.items()}
    if len(trees) == 1:
        return write_report(next(iter(trees.values())), path)
    return write_comparison(trees, path)


def _several(posterior: Any) -> dict[str, Any] | None:
    """Several posteriors by name; None for a single one."""
    if isinstance(posterior, Sequence) and not isinstance(posterior, str):
        paths = [Path(p).stem if isinstance(p, str | Path) else "" for p in posterior]
        unique = len(set(paths)) == len(paths) and all(paths)
        names = paths if unique else [p or str(i) for i, p in enumerate(map(_words, posterior))]
        return dict(zip(names, posterior, strict=True))
    trees = (xr.DataTree, xr.Dataset, str, Path)
    is_dict = isinstance(posterior, Mapping) and not isinstance(posterior, trees)
    if is_dict and posterior and all(isinstance(v, trees) for v in posterior.values()):
        return {str(n): v for n, v in posterior.items()}
    return None


def _words(posterior: Any) -> str:
    return str(posterior) if isinstance(posterior, str | Path) else ""
