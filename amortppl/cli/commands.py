"""The command line. JAX and the models are imported inside the commands, so that help is quick."""

from pathlib import Path
from typing import Annotated, Any

import typer

from amortppl.cli.inputs import (
    data_files,
    expect_free,
    expect_outputs,
    expect_writable,
    open_stream,
    parse_columns,
    read_task,
)
from amortppl.cli.messages import plain_errors, tell_written
from amortppl.errors import DataError, TrainingError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Amortized guides for probabilistic programs: train once, then any dataset has a checked "
    "posterior.",
)

GuidePath = Annotated[Path, typer.Argument(help="A guide's folder.")]
DataPath = Annotated[Path, typer.Argument(help="The dataset, CSV or Parquet.")]
ColumnsOption = Annotated[
    list[str],
    typer.Option(
        help="Columns of an argument, as x=age,bmi; once for each argument.", default_factory=list
    ),
]
Draws = Annotated[int, typer.Option(min=1, help="Independent draws.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Trusted = Annotated[
    list[str],
    typer.Option(
        "--trust-code",
        help="A .py file, or a module, that may be run to find the guide's model or method.",
        default_factory=list,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]


@app.command()
def models() -> None:
    """List the models that come with the package."""
    _list("models")


@app.command()
def methods() -> None:
    """List the methods that can be trained."""
    _list("inference")


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A model's name, or path/to/file.py[:name].")],
    out: Annotated[Path, typer.Option(help="Folder for the guide.")],
    method: Annotated[
        str, typer.Option(help="A method's name, or a path to a file.")
    ] = "parametric",
    steps: Annotated[int | None, typer.Option(min=1, help="Updates to make.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Instead, minutes to train for.")
    ] = None,
    seed: Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run that was cut short.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train a guide across datasets simulated from a model.

    While it runs, the run is kept in OUT.checkpoint, from which --resume continues it.
    """
    kept = out.with_name(f"{out.name}.checkpoint")
    with plain_errors():
        expect_free(out)
        if kept.exists() and not resume:
            raise TrainingError(
                f"{kept} keeps an unfinished run: continue it with --resume, or delete that file"
            )
        task = read_task(model)
        from amortppl.guide.train import train as run

        length: dict[str, Any] = {
            "steps": steps,
            "minutes": minutes,
            "seed": seed,
            "progress": not quiet,
        }
        try:
            guide = run(task, method, checkpoint=kept, resume=kept if resume else None, **length)
        except KeyboardInterrupt:
            typer.echo(
                f"Stopped. {'--resume continues the run' if kept.exists() else 'Nothing was kept yet'}.",
                err=True,
            )
            raise typer.Exit(130) from None
        try:
            with tell_written(out):
                guide.save(out)
        except OSError as error:
            raise OSError(f"{error}. {_how_to_save(kept, guide.record.steps)}") from error
        kept.unlink(missing_ok=True)
    if not quiet:
        record = guide.record
        loss = f", held-out loss {record.held_out[-1]:.3f}" if record.held_out else ""
        typer.echo(f"guide: {out} ({record.steps} updates in {record.seconds:.0f} s{loss})")


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
    quiet: Quiet = False,
) -> None:
    """Posterior of a dataset, with its check; of mini-batches when --batch-size, --state or --every
    is given.
    """
    with plain_errors():
        wanted = batch_size is not None or state is not None or every is not None
        streamed = wanted or not Path(data).is_file()
        named = parse_columns(columns)
        expect_outputs((out, report, state), [guide, *data_files(data)])
        if not streamed and (passes > 1 or in_order or check is not None):
            raise DataError(
                "--passes, --in-order and --check are for mini-batches: give --batch-size as well"
            )
        from amortppl.data.sources.whole import read_table

        source = (
            open_stream(data, batch_size, named, in_order) if streamed else read_table(Path(data))
        )
        from amortppl.guide.load import load
        from amortppl.report.netcdf import write_tree
        from amortppl.report.summary import statistic, verdict_of

        trained = load(guide, trust_code=trust_code)
        options: dict[str, Any] = {"trust": trust} | ({} if budget is None else {"budget": budget})
        if streamed:
            if trust is not None:
                raise DataError(
                    "--trust is for a dataset that is looked at as a whole; leave out --batch-size"
                )
            begun = trained.load_state(state) if state is not None and state.exists() else None
            options = {
                "passes": passes,
                "every": every,
                "keep": state,
                "check": check,
                "progress": not quiet,
            }
            options["state"] = begun
        tree = trained.infer(source, draws=draws, seed=seed, columns=named, **options)
        with tell_written(out):
            write_tree(tree, out)
        if report is not None:
            _report(tree, report)
        khat = statistic(tree, "khat")
    if not quiet:
        rows = f"{int(tree['sample_stats']['rows']):,} rows; " if streamed else ""
        said = verdict_of(tree) if khat != khat else f"k-hat {khat:.2f}: {verdict_of(tree)}"
        typer.echo(rows + said)
        typer.echo(f"posterior: {out}" + (f"\nreport: {report}" if report else ""))


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
) -> None:
    """Posterior predictive draws at new inputs."""
    with plain_errors():
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
def report(
    posterior: Annotated[Path, typer.Argument(help="A posterior that `infer` wrote.")],
    out: Annotated[
        Path | None, typer.Option(help="HTML file; by default beside the posterior.")
    ] = None,
) -> None:
    """Report of a posterior, as one HTML page."""
    place = out or posterior.with_suffix(".html")
    with plain_errors():
        expect_writable(place, posterior)
        from amortppl.report.netcdf import read_tree

        _report(read_tree(posterior), place)
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
) -> None:
    """Is a guide calibrated? Simulation-based calibration; exit status 2 when it is not."""
    with plain_errors():
        expect_outputs((report, csv), [guide])
        from amortppl.diagnostics.calibration import calibrate
        from amortppl.diagnostics.calibration_page import write_calibration
        from amortppl.guide.load import load
        from amortppl.runtime.files import write

        found = calibrate(load(guide, trust_code=trust_code), datasets, draws, seed)
        if report is not None:
            write_calibration(found, report)
        if csv is not None:
            write(csv, found.table.to_csv().encode())
    typer.echo(found.table.iloc[:, :6].to_string(float_format="{:.3f}".format))
    typer.echo(f"{'calibrated' if found.ok else 'NOT calibrated'} ({datasets} simulated datasets)")
    if not found.ok:
        raise typer.Exit(2)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path("demo"),
    steps: Annotated[
        int | None, typer.Option(min=1, help="Updates to make, instead of about a minute.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.0, help="Minutes to train for.")] = 1.0,
    quiet: Quiet = False,
) -> None:
    """Train on simulations, infer from real data, compare with NUTS: under three minutes."""
    with plain_errors():
        expect_writable(out / "report.html")
        from amortppl.cli.demo import run

        run(out, steps=steps, minutes=minutes, quiet=quiet)


@app.command()
def compare(
    model: Annotated[str, typer.Argument(help="A model's name, or path/to/file.py[:name].")],
    methods: Annotated[str, typer.Option(help="Methods, separated by commas.")],
    minutes: Annotated[float, typer.Option(min=0.0, help="Minutes to train each for.")] = 2.0,
    datasets: Annotated[int, typer.Option(min=2, help="Held-out datasets of each size.")] = 30,
    out: Annotated[Path, typer.Option(help="CSV file; a figure is put beside it.")] = Path(
        "compare.csv"
    ),
    seed: Seed = 0,
) -> None:
    """Train several methods for equal time and score them on the same held-out datasets."""
    with plain_errors():
        expect_outputs((out, out.with_suffix(".png")), [model.rpartition(":")[0] or model, model])
        from amortppl.diagnostics.compare import compare as run
        from amortppl.diagnostics.compare import figure

        names = [n.strip() for n in methods.split(",") if n.strip()]
        table = run(model, names, minutes=minutes, datasets=datasets, seed=seed, say=typer.echo)
        from amortppl.runtime.files import write

        with tell_written(out):
            write(out, table.to_csv(index=False).encode())
        figure(table, out.with_suffix(".png"))
    shown = table.drop(columns="error", errors="ignore").dropna(axis="columns", how="all")
    typer.echo(shown.to_string(index=False, float_format="%.3f"))
    typer.echo(f"table: {out}\nfigure: {out.with_suffix('.png')}")


def _how_to_save(kept: Path, steps: int) -> str:
    if not kept.exists():
        return "There was no room for a checkpoint either: the guide is lost"
    return (
        f"The run ({steps} updates) is kept in {kept}: make room, then give the same command with "
        f"--resume, which saves the guide"
    )


def _list(kind: str) -> None:
    from amortppl import catalogue

    names = catalogue.names(kind)
    wide = max(map(len, names), default=0) + 2
    with plain_errors():
        for name in names:
            try:
                about = catalogue.describe(catalogue.module(kind, name))
            except ImportError as error:
                about = f"(not to be had here: {error})"
            typer.echo(f"{name:<{wide}}{about}")


def _report(tree: Any, path: Path) -> None:
    from amortppl.report.posterior_page import write_report

    try:
        with tell_written(path):
            write_report(tree, path)
    except ValueError as error:
        raise DataError(str(error)) from error
