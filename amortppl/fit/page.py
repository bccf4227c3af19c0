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
        >>> form = ap.formula("y ~ x", {"x": [0.0, 1.0, 2.0, 3.0], "y": [0.1, 1.2, 1.9, 3.1]})
        >>> post = ap.fit(form)
        >>> page = pathlib.Path(tempfile.mkdtemp()) / "report.html"
        >>> "<h2>Effects</h2>" in ap.report_fit(form, post, page).read_text()
        True
    """
    from amortppl.report.posterior_page import write_report

    if "task" not in post["posterior"].dims:
        add_effects(form, post)
    return write_report(post, path)
