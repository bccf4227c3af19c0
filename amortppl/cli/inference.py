"""Commands that ask a guide, and check it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from amortppl.cli.app import (
    ColumnsOption,
    DataPath,
    Draws,
    GuidePath,
    Quiet,
    Seed,
    ShowTimings,
    Trusted,
    app,
)
from amortppl.cli.inputs import (
    data_files,
    expect_outputs,
    expect_writable,
    open_stream,
    parse_columns,
)
from amortppl.cli.long_table import infer_table, refuse_options
from amortppl.cli.messages import plain_errors, tell_timings, tell_written
from amortppl.errors import DataError


@app.command()
def infer(
    guide: GuidePath,
    data: Annotated[
        str,
        typer.Argument(
            help="The dataset: CSV or Parquet, a folder of Parquet files, or a pattern."
        ),
    ],
    out: Annotated[Path, typer.Option(help="NetCDF file for the posterior.")],
    columns: ColumnsOption,
    trust_code: Trusted,
    draws: Draws = 1000,
    seed: Seed = 0,
    report: Annotated[Path | None, typer.Option(help="HTML file for a report.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows in a mini-batch; reads at constant memory.")
    ] = None,
    passes: Annotated[
        int, typer.Option(min=1, help="How often to go through the mini-batches.")
    ] = 1,
    state: Annotated[
        Path | None, typer.Option(help="File that keeps the state: continued if it is there.")
    ] = None,
    every: Annotated[
        int | None, typer.Option(min=1, help="Keep means and sds each time so many rows were seen.")
    ] = None,
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Take rows as they come instead of shuffled.")
    ] = False,
    check: Annotated[
        bool | None, typer.Option(help="Whether to read all mini-batches again for k-hat.")
    ] = None,
    trust: Annotated[
        str | None, typer.Option(help="'ladder': climb to the cheapest answer that passes.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0.0, help="Seconds that the ladder may take.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Column that names each row's dataset: a table of all their posteriors."),
    ] = None,
    output: Annotated[
        str, typer.Option(help="With --by: 'summary' of each latent, or all 'draws'.")
    ] = "summary",
    timings: ShowTimings = False,
    quiet: Quiet = False,
) -> None:
    """Posterior of a dataset, with its check.

    Of mini-batches when --batch-size, --state or --every is given; of each dataset of a table in
    long form with --by.
    """
    if by is not None:
        alone = {"report": report, "batch-size": batch_size, "state": state, "every": every}
        alone |= {"check": check, "in-order": in_order, "passes": passes > 1 or None}
        shared = {"columns": columns, "trust_code": trust_code, "draws": draws, "seed": seed}
        shared |= {"trust": trust, "budget": budget, "output": output, "quiet": quiet}
        with plain_errors():
            refuse_options(alone)
            infer_table(guide, data, by, out, **shared)
        return
    wanted = batch_size is not None or state is not None or every is not None
    streamed = wanted or not Path(data).is_file()
    with plain_errors(), tell_timings(timings):
        named = parse_columns(columns)
        expect_outputs((out, report, state), [guide, *data_files(data)])
        if not streamed and (passes > 1 or in_order or check is not None):
            raise DataError(
                "--passes, --in-order and --check are for mini-batches: give --batch-size as well"
            )
        if streamed and trust is not None:
            raise DataError(
                "--trust is for a dataset that is looked at as a whole; leave out --batch-size"
            )
        source = _source(data, streamed, batch_size, named, in_order)
        from amortppl.guide.load import load
        from amortppl.report.netcdf import write_tree

        trained = load(guide, trust_code=trust_code)
        options: dict[str, Any] = {"trust": trust} | ({} if budget is None else {"budget": budget})
        if streamed:
            begun = trained.load_state(state) if state is not None and state.exists() else None
            options = {"passes": passes, "every": every, "keep": state, "check": check}
            options |= {"progress": not quiet, "state": begun}
        tree = trained.infer(source, draws=draws, seed=seed, columns=named, **options)
        with tell_written(out):
            write_tree(tree, out)
        if report is not None:
            _report(tree, report)
    if not quiet:
        typer.echo(_verdict(tree, streamed))
        typer.echo(f"posterior: {out}" + (f"\nreport: {report}" if report else ""))


def _source(
    data: str, streamed: bool, batch_size: int | None, columns: dict[str, Any], in_order: bool
) -> Any:
    """A table, or mini-batches of files."""
    if streamed:
        return open_stream(data, batch_size, columns, in_order)
    from amortppl.data.sources.whole import read_table

    return read_table(Path(data))


def _verdict(tree: Any, streamed: bool) -> str:
    """The verdict on a posterior in a line, after its rows where they were streamed."""
    from amortppl.report.summary import statistic, verdict_of

    khat = statistic(tree, "khat")
    rows = f"{int(tree['sample_stats']['rows']):,} rows; " if streamed else ""
    return rows + (verdict_of(tree) if khat != khat else f"k-hat {khat:.2f}: {verdict_of(tree)}")


@app.command()
def predict(
    guide: GuidePath,
    data: DataPath,
    at: Annotated[
        str,
        typer.Option(
            help="The new inputs, CSV or Parquet; a number of rows for a model without any."
        ),
    ],
    out: Annotated[Path, typer.Option(help="NetCDF file for the predictions.")],
    columns: ColumnsOption,
    trust_code: Trusted,
    draws: Draws = 1000,
    seed: Seed = 0,
    timings: ShowTimings = False,
) -> None:
    """Posterior predictive draws at new inputs."""
    with plain_errors(), tell_timings(timings):
        named = parse_columns(columns)
        expect_writable(out, guide, data, at)
        from amortppl.data.sources.whole import read_table

        frame, new = (
            read_table(data),
            int(at) if at.isdigit() and not Path(at).exists() else read_table(Path(at)),
        )
        from amortppl.guide.load import load
        from amortppl.report.netcdf import write_tree

        trained = load(guide, trust_code=trust_code)
        tree = trained.predict(frame, at=new, draws=draws, seed=seed, columns=named)
        with tell_written(out):
            write_tree(tree, out)
    typer.echo(f"predictions: {out}")


@app.command()
def warm(
    guide: GuidePath,
    trust_code: Trusted,
    draws: Draws = 1000,
    lists: Annotated[
        bool, typer.Option("--lists", help="Lists of datasets will be inferred too.")
    ] = False,
    timings: ShowTimings = False,
) -> None:
    """Compile what a guide needs into the cache, so that nobody waits for it later."""
    with plain_errors(), tell_timings(timings):
        from amortppl.guide.load import load
        from amortppl.runtime.program_cache import VARIABLE, use_program_cache

        spent = load(guide, trust_code=trust_code).warm(draws, lists)
        kept = use_program_cache()
    total = spent.total
    where = f"kept in {kept}" if kept else f"not kept: no cache is used ({VARIABLE})"
    typer.echo(f"{total.compiled} programs compiled, {total.loaded} loaded; {where}")


@app.command()
def report(
    posteriors: Annotated[
        list[Path],
        typer.Argument(help="Posteriors in ArviZ's schema, of any library; several side by side."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="HTML file; by default beside the first posterior.")
    ] = None,
) -> None:
    """Report of a posterior, or of several side by side, as one HTML page."""
    place = out or posteriors[0].with_suffix(".html")
    with plain_errors():
        expect_writable(place, *posteriors)
        from amortppl.report.report import report as write_page

        write_page(posteriors if len(posteriors) > 1 else posteriors[0], place)
    typer.echo(f"report: {place}")


@app.command()
def diagnose(
    guide: GuidePath,
    trust_code: Trusted,
    datasets: Annotated[int, typer.Option(min=20, help="Simulated datasets.")] = 200,
    draws: Annotated[int, typer.Option(min=20, help="Draws for each.")] = 400,
    seed: Seed = 0,
    report: Annotated[Path | None, typer.Option(help="HTML file for a report.")] = None,
    csv: Annotated[Path | None, typer.Option(help="CSV file for the table.")] = None,
    timings: ShowTimings = False,
) -> None:
    """Is a guide calibrated? Simulation-based calibration; exit status 2 when it is not."""
    with plain_errors(), tell_timings(timings):
        expect_outputs((report, csv), [guide])
        from amortppl.diagnostics.calibration import calibrate
        from amortppl.diagnostics.calibration_page import write_calibration
        from amortppl.guide.load import load
        from amortppl.runtime.files import write

        calibration = calibrate(load(guide, trust_code=trust_code), datasets, draws, seed)
        if report is not None:
            write_calibration(calibration, report)
        if csv is not None:
            write(csv, calibration.table.to_csv().encode())
    typer.echo(calibration.table.iloc[:, :6].to_string(float_format="{:.3f}".format))
    typer.echo(
        f"{'calibrated' if calibration.ok else 'NOT calibrated'} ({datasets} simulated datasets)"
    )
    if not calibration.ok:
        raise typer.Exit(2)


def _report(tree: Any, path: Path) -> None:
    from amortppl.report.posterior_page import write_report

    try:
        with tell_written(path):
            write_report(tree, path)
    except ValueError as error:
        raise DataError(str(error)) from error
