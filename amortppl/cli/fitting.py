"""The command that fits a formula, or a model, to a table with nothing trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amortppl.cli.app import DataPath, Draws, Quiet, Seed, app
from amortppl.cli.inputs import expect_outputs
from amortppl.cli.messages import plain_errors, tell_written
from amortppl.errors import DataError

if TYPE_CHECKING:
    from amortppl.formula.formula import Formula

DEFAULTS = {
    Path("posterior.nc"): b"inference_library",
    Path("report.html"): b"<title>Posterior of",
    Path("predictions.csv"): b"_mean",
}
"""Default names of files, and what these hold where this program wrote them."""


@app.command()
def fit(
    formula: Annotated[str, typer.Argument(help="The formula, as 'y ~ x + C(g) + (1 | school)'.")],
    data: DataPath,
    prior: Annotated[
        list[str],
        typer.Option(help="A prior, as 'x=Normal(0, 1)'; repeat it.", default_factory=list),
    ],
    compare: Annotated[
        list[str],
        typer.Option(help="Another formula to compare with; repeat it.", default_factory=list),
    ],
    family: Annotated[str, typer.Option(help="The family of the outcome.")] = "gaussian",
    link: Annotated[str | None, typer.Option(help="The family's link.")] = None,
    weights: Annotated[str | None, typer.Option(help="A column of weights.")] = None,
    missing: Annotated[
        str, typer.Option(help="Missing cells of predictors: error, drop or impute.")
    ] = "error",
    trust: Annotated[
        str, typer.Option(help="'ladder', or 'none' for the frame's own draws.")
    ] = "ladder",
    draws: Draws = 1000,
    seed: Seed = 0,
    predict: Annotated[
        Path | None, typer.Option(help="New rows, CSV or Parquet, whose outcome is predicted.")
    ] = None,
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
        outputs = [out, report, source, predictions if predict else None]
        expect_outputs(outputs, [data, *([predict] if predict else [])])
        _expect_own(out, report, predictions if predict else None)
        if trust not in ("ladder", "none"):
            raise DataError(f"--trust: expected 'ladder' or 'none', got {trust!r}")
        frame = _read(data, quiet)
        options: dict[str, Any] = {"family": family, "link": link, "priors": _priors(prior)}
        options |= {"missing": missing, "weights": weights}
        import amortppl as ap
        from amortppl.fit.effect_groups import add_effects

        form = ap.formula(formula, frame, **options)
        if not quiet:
            typer.echo(f"{form}\n")
        climb = {"trust": None if trust == "none" else trust}
        tree = ap.fit(form, draws=draws, seed=seed, **climb)
        if source is not None:
            _write(source, form.source().encode())
        add_effects(form, tree)
        _write_tree(tree, out, report)
        typer.echo(_answer(form, tree))
        if predict is not None:
            _predict(form, tree, predict, predictions, seed)
        if compare:
            trees = {formula: tree}
            options["priors"] = None
            for other in compare:
                trees[other] = ap.fit(other, frame, draws=draws, seed=seed, **options, **climb)
            typer.echo(_compared(trees))
    if not quiet:
        typer.echo(f"posterior: {out}\nreport: {report}")


def _read(path: Path, quiet: bool = True) -> Any:
    from amortppl.data.sources.whole import read_table
    from amortppl.formula.text_columns import read_text_columns

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


def _write_tree(tree: Any, out: Path, report: Path) -> None:
    from amortppl.report.netcdf import write_tree
    from amortppl.report.posterior_page import write_report

    with tell_written(out):
        write_tree(tree, out)
    with tell_written(report):
        write_report(tree, report)


def _answer(form: "Formula", tree: Any) -> str:
    """The table, and the verdict below it."""
    from amortppl.fit.table import coefficient_table, table_text
    from amortppl.report.summary import verdict_of

    return f"{table_text(coefficient_table(form, tree))}\n{verdict_of(tree)}"


def _predict(form: "Formula", tree: Any, rows: Path, path: Path, seed: int) -> None:
    """Writes the new rows with mean, sd and interval of their outcome."""
    import numpy as np

    from amortppl.fit.predictions import predict_rows
    from amortppl.report.summary import TAILS

    frame = _read(rows)
    draws = predict_rows(form, tree, frame, seed)
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
