"""The report of a formula's posterior: one HTML page with effects, residuals, groups and checks."""

from pathlib import Path
from typing import TYPE_CHECKING

from amortppl.fit.effect_groups import add_effects
from amortppl.formula.formula import Formula

if TYPE_CHECKING:
    import xarray


def report_fit(form: Formula, post: "xarray.DataTree", path: str | Path) -> Path:
    """Writes the report that `amortppl fit` writes.

    The groups `expected`, `effects` and `table` are added to the posterior; one of several datasets
    gets the table of all of them instead.

    Args:
        form: what `ap.formula` returned.
        post: what `ap.fit` returned of it.
        path: the HTML file; it is replaced.

    Returns:
        The path.

    Raises:
        OSError: the place cannot be written.

    Example:
        >>> import amortppl as ap, tempfile, pathlib
        >>> y = [0.1, 1.2, 1.9, 3.1, 3.8, 5.3, 5.7, 7.2, 7.9, 9.1, 10.3, 10.8, 12.1, 12.9, 14.2]
        >>> form = ap.formula("y ~ x", {"x": list(range(15)), "y": y})
        >>> post = ap.fit(form)
        >>> page = pathlib.Path(tempfile.mkdtemp()) / "report.html"
        >>> "<h2>Effects</h2>" in ap.report_fit(form, post, page).read_text()
        True
    """
    from amortppl.report.posterior_page import write_report

    if "task" not in post["posterior"].dims:
        add_effects(form, post)
    return write_report(post, path)
