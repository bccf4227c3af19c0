"""Commands that check and compare inferences of any kind over simulated datasets."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from amortppl.cli.app import Quiet, Seed, app
from amortppl.cli.inputs import expect_outputs, read_task
from amortppl.cli.messages import plain_errors, tell_written
from amortppl.errors import DataError

Model = Annotated[str, typer.Argument(help="A model's name, or path/to/file.py[:name].")]
Options = Annotated[
    list[str],
    typer.Option(
        "--option", help="An option of the inference, as steps=500; repeat it.",
        default_factory=list,
    ),
]  # fmt: skip
Rows = Annotated[
    list[int],
    typer.Option(help="Rows of the datasets; repeat it for several.", default_factory=list),
]
NAMES = "numpyro.nuts, numpyro.autoguide:NAME, pathfinder, pyro.svi or a method"


@app.command()
def calibrate(
    model: Model,
    infer: Annotated[str, typer.Argument(help=f"The inference: {NAMES}.")],
    option: Options,
    rows: Rows,
    datasets: Annotated[int, typer.Option(min=20, help="Simulated datasets.")] = 200,
    draws: Annotated[int, typer.Option(min=20, help="Draws for each, before thinning.")] = 400,
    seed: Seed = 0,
    report: Annotated[Path | None, typer.Option(help="HTML file for a report.")] = None,
    csv: Annotated[Path | None, typer.Option(help="CSV file for the table.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File that keeps what is done, to continue from.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Is an inference calibrated on a model? Exit status 2 when it is not."""
    with plain_errors():
        expect_outputs((report, csv), [model.rpartition(":")[0] or model, model])
        task = read_task(model)
        from amortppl.diagnostics.calibrate import calibrate_inference
        from amortppl.diagnostics.calibration_page import write_calibration
        from amortppl.diagnostics.inferences.named import find_inference
        from amortppl.runtime.files import write

        inference = find_inference(task, infer, _options(option))
        kept = {"checkpoint": checkpoint, "progress": not quiet}
        calibration = calibrate_inference(
            task, inference, datasets, draws, seed, rows or None, **kept
        )
        if report is not None:
            write_calibration(calibration, report)
        if csv is not None:
            with tell_written(csv):
                write(csv, calibration.table.to_csv().encode())
    typer.echo(calibration.table.iloc[:, :6].to_string(float_format="{:.3f}".format))
    for problem, count in calibration.problems.items():
        typer.echo(f"{count} of {datasets} datasets: {problem}")
    words = "calibrated" if calibration.ok else "NOT calibrated"
    typer.echo(f"{calibration.inference}: {words} ({datasets} simulated datasets)")
    if not calibration.ok:
        raise typer.Exit(2)


@app.command()
def contest(
    model: Model,
    rows: Rows,
    inferences: Annotated[str, typer.Option(help=f"Separated by commas: {NAMES}.")],
    datasets: Annotated[int, typer.Option(min=20, help="Simulated datasets.")] = 100,
    draws: Annotated[int, typer.Option(min=20, help="Draws for each, before thinning.")] = 1000,
    references: Annotated[
        int, typer.Option(min=1, help="Datasets with a long run of NUTS as a reference.")
    ] = 30,
    minutes: Annotated[float, typer.Option(min=0.0, help="Minutes to train a method for.")] = 2.0,
    out: Annotated[Path, typer.Option(help="CSV file; a figure is put beside it.")] = Path(
        "contest.csv"
    ),
    seed: Seed = 0,
) -> None:
    """Several inferences on the same datasets: errors, calibration and seconds."""
    picture = out.with_suffix(".png")
    with plain_errors():
        expect_outputs((out, picture), [model.rpartition(":")[0] or model, model])
        task = read_task(model)
        from amortppl.diagnostics.contest import contest as run
        from amortppl.runtime.files import write

        names = [n.strip() for n in inferences.split(",") if n.strip()]
        table = run(
            task, names, datasets, draws, seed, references=references, minutes=minutes,
            rows=rows or None, figure=picture, say=typer.echo,
        )  # fmt: skip
        with tell_written(out):
            write(out, table.to_csv().encode())
    typer.echo(table.drop(columns="error", errors="ignore").to_string(float_format="%.3f"))
    typer.echo(f"table: {out}\nfigure: {picture}")


def _options(given: list[str]) -> dict[str, Any]:
    """`["steps=500"]` -> options, numbers as numbers."""
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise DataError(f"--option: expected NAME=VALUE like steps=500, got {text!r}")
        try:
            options[name.strip()] = json.loads(value)
        except ValueError:
            options[name.strip()] = value.strip()
    return options
