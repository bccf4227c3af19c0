"""The command that fits a formula, or a model, to a table with nothing trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amortppl.cli.app import Draws, Quiet, Seed, app
from amortppl.cli.example_tables import PREFIX, read_example
from amortppl.cli.inputs import expect_outputs
from amortppl.cli.messages import plain_errors, tell_written
from amortppl.cli.several_formulas import SeveralFormulas
from amortppl.errors import DataError

if TYPE_CHECKING:
    from amortppl.formula.formula import Formula

DEFAULTS = {
    Path("posterior.nc"): b"inference_library",
    Path("report.html"): b"<title>Posterior of",
    Path("predictions.csv"): b"_mean",
}
"""Default names of files, and what these hold where this program wrote them."""


@app.command(cls=SeveralFormulas)
def fit(
    formula: Annotated[str, typer.Argument(help="The formula, as 'y ~ x + C(g) + (1 | school)'.")],
    data: Annotated[
        Path, typer.Argument(help="The table, CSV or Parquet; or example:diabetes to try.")
    ],
    prior: Annotated[
        list[str],
        typer.Option(help="A prior, as 'x=Normal(0, 1)'; repeat it.", default_factory=list),
    ],
    compare: Annotated[
        list[str],
        typer.Option(help="One or more other formulas to compare with.", default_factory=list),
    ],
    family: Annotated[str, typer.Option(help="The family of the outcome.")] = "gaussian",
    link: Annotated[str | None, typer.Option(help="The family's link.")] = None,
    weights: Annotated[str | None, typer.Option(help="A column of weights.")] = None,
    missing: Annotated[
        str, typer.Option(help="Missing cells of predictors: error, drop or impute.")
    ] = "error",
    by: Annotated[
        str | None, typer.Option(help="A column: one posterior for each of its levels.")
    ] = None,
    bootstrap: Annotated[
        int | None, typer.Option(help="Posteriors of so many samples of the rows.")
    ] = None,
    trust: Annotated[
        str, typer.Option(help="'ladder', or 'none' for the frame's own draws.")
    ] = "ladder",
    draws: Draws = 1000,
    seed: Seed = 0,
    predict: Annotated[
        Path | None, typer.Option(help="New rows, CSV or Parquet, whose outcome is predicted.")
    ] = None,
    new_levels: Annotated[
        bool, typer.Option("--new-levels", help="New rows may have new levels of groups.")
    ] = False,
    predictions: Annotated[
        Path, typer.Option(help="CSV file for the new rows with their predictions.")
    ] = Path("predictions.csv"),
    out: Annotated[Path, typer.Option(help="NetCDF file for the posterior.")] = Path(
        "posterior.nc"
    ),
    report: Annotated[Path, typer.Option(help="HTML file for the report.")] = Path("report.html"),
    source: Annotated[
        Path | None, typer.Option(help="Python file for the NumPyro program.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Posterior of a regression formula on a table, with its check; nothing is trained."""
    with plain_errors():
        inputs = [*([] if is_example(data) else [data]), *([predict] if predict else [])]
        expect_outputs([out, report, source, predictions if predict else None], inputs)
        _expect_own(out, report, predictions if predict else None)
        _expect_options(trust, {"predict": predict, "compare": compare}, by or bootstrap)
        frame = _read(data, quiet)
        reading: dict[str, Any] = {"family": family, "link": link, "missing": missing}
        reading |= {"weights": weights}
        import amortppl as ap

        form = ap.formula(formula, frame, **reading, priors=_priors(prior))
        typer.echo("" if quiet else f"{form}\n", nl=not quiet)
        options: dict[str, Any] = {"draws": draws, "seed": seed}
        options["trust"] = None if trust == "none" else trust
        tree = ap.fit(form, by=by, bootstrap=bootstrap, **options)
        if source is not None:
            _write(source, form.source().encode())
        _write_tree(form, tree, out, report)
        typer.echo(_answer(form, tree))
        if predict is not None:
            _predict(form, tree, predict, predictions, seed, new_levels)
        others = {text: ap.fit(text, frame, **reading, **options) for text in compare}
        if others:
            typer.echo(_compared({formula: tree} | others))
    if not quiet:
        typer.echo(f"posterior: {out}\nreport: {report}")


def is_example(path: Path) -> bool:
    """Whether a table is asked for by name, as `example:diabetes`."""
    return str(path).startswith(PREFIX)


def _expect_options(trust: str, one: dict[str, Any], several: Any) -> None:
    """Refuses a word for trust that there is not, and options of one posterior for several."""
    if trust not in ("ladder", "none"):
        raise DataError(f"--trust: expected 'ladder' or 'none', got {trust!r}")
    given = [n for n, v in one.items() if v]
    if several and given:
        raise DataError(
            f"--{given[0]}: it is of one posterior; leave out --by and --bootstrap, or it"
        )


def _read(path: Path, quiet: bool = True) -> Any:
    from amortppl.data.sources.whole import read_table
    from amortppl.formula.text_columns import read_text_columns

    if is_example(path):
        return read_example(str(path))
    frame, notes = read_text_columns(read_table(path))
    if notes and not quiet:
        typer.echo(f"{path}: {'; '.join(notes)}")
    return frame


def _priors(given: list[str]) -> dict[str, str]:
    priors = {}
    for text in given:
        name, equals, prior = text.rpartition("=")
        if not equals or not name.strip() or not prior.strip():
            raise DataError(
                f"--prior: expected NAME=DISTRIBUTION like x=Normal(0, 1), got {text!r}"
            )
        priors[name.strip()] = prior.strip()
    return priors


def _expect_own(*paths: Path | None) -> None:
    """Refuses to replace, under a name that nobody typed, what this program did not write."""
    for path in paths:
        mark = DEFAULTS.get(path) if path is not None and path.exists() else None
        if path is not None and mark is not None and mark not in path.read_bytes():
            raise FileExistsError(
                f"{path}: exists, and this program did not write it; name other files with --out, "
                "--report and --predictions"
            )


def _write(path: Path, content: bytes) -> None:
    from amortppl.runtime.files import write

    with tell_written(path):
        write(path, content)


def _write_tree(form: "Formula", tree: Any, out: Path, report: Path) -> None:
    from amortppl.fit.page import report_fit
    from amortppl.report.netcdf import write_tree

    with tell_written(report):
        report_fit(form, tree, report)
    with tell_written(out):
        write_tree(tree, out)


def _answer(form: "Formula", tree: Any) -> str:
    """The table, and the verdict below it."""
    from amortppl.fit.table import coefficient_table, table_of_tasks, table_text, verdicts_text
    from amortppl.report.summary import verdict_of

    if "task" in tree["posterior"].dims:
        return f"{table_of_tasks(form, tree)}\n{verdicts_text(tree)}"
    return f"{table_text(coefficient_table(form, tree))}\n{verdict_of(tree)}"


def _predict(
    form: "Formula", tree: Any, rows: Path, path: Path, seed: int, new_levels: bool
) -> None:
    """Writes the new rows with mean, sd and interval of their outcome."""
    import numpy as np

    from amortppl.fit.predictions import predict_rows
    from amortppl.report.summary import TAILS

    frame = _read(rows)
    draws = predict_rows(form, tree, frame, seed, new_levels)
    name = form.argument
    frame[f"{name}_mean"], frame[f"{name}_sd"] = draws.mean(0), draws.std(0)
    for tail in TAILS:
        frame[f"{name}_{100 * tail:.3g}%"] = np.quantile(draws, tail, axis=0)
    _write(path, frame.to_csv(index=False).encode())
    typer.echo(f"predictions: {path}")


def _compared(trees: dict[str, Any]) -> str:
    from amortppl.fit.compare import compare_fits

    table = compare_fits(trees)
    return "\n" + table.to_string(float_format="{:.1f}".format)
