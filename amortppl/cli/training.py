"""Commands that list, train and compare methods."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from amortppl.cli.app import Quiet, Seed, ShowTimings, app
from amortppl.cli.inputs import expect_free, expect_outputs, expect_writable, read_task
from amortppl.cli.listing import summaries
from amortppl.cli.messages import plain_errors, tell_timings, tell_written
from amortppl.errors import TrainingError


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
    timings: ShowTimings = False,
    quiet: Quiet = False,
) -> None:
    """Train a guide across datasets simulated from a model.

    While it runs, the run is kept in OUT.checkpoint, from which --resume continues it.
    """
    kept = out.with_name(f"{out.name}.checkpoint")
    with plain_errors(), tell_timings(timings):
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
            kept_words = "--resume continues the run" if kept.exists() else "Nothing was kept yet"
            typer.echo(f"Stopped. {kept_words}.", err=True)
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
    """A line for every file of a kind, from its source: nothing is imported."""
    about = summaries(kind)
    wide = max(map(len, about), default=0) + 2
    extra = "" if _has_pyro() else " (needs the extra: pip install 'amortppl[pyro]')"
    for name, line in about.items():
        typer.echo(f"{name:<{wide}}{line}{extra if name.endswith('_pyro') else ''}")


def _has_pyro() -> bool:
    """Whether the extra `pyro` is there, without importing it."""
    try:
        return find_spec("pyro") is not None
    except ImportError:
        return False
