"""The program `amortppl`, and the options that several of its commands have."""

from pathlib import Path
from typing import Annotated

import typer

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
ShowTimings = Annotated[
    bool, typer.Option("--timings", help="Say at the end where the time went, by program.")
]
