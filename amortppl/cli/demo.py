"""The demonstration: amortized inference on real data, compared with NUTS on the same data.

Efron, Hastie, Johnstone and Tibshirani 2004, "Least angle regression", Annals of Statistics 32(2):
442 diabetes patients, ten covariates, and the progression of the disease one year later.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr
from jaxtyping import Array
from rich.console import Console
from rich.table import Table

import amortppl as ap
from amortppl.report.netcdf import write_tree
from amortppl.report.posterior_page import write_report
from amortppl.report.summary import statistic, summaries, verdict_of
from amortppl.runtime.seeds import seed_key

if TYPE_CHECKING:
    import pandas as pd

    from amortppl.guide.guide import Guide

SIZES = (20, 500)
"""Rows of the simulated datasets; the real one has 442."""

ON_SIMULATIONS = "on datasets simulated from the model; no real outcome is seen"


def diabetes_regression(x: Array, y: Array | None = None) -> None:
    """Progression of diabetes on ten covariates, all standardised.

    y_i ~ Normal(intercept + x_i . slope, noise); slopes are expected within one standard deviation.
    """
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 1.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 0.5).expand([x.shape[-1]]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("patient", x.shape[0]):
        numpyro.sample("y", dist.Normal(intercept + x @ slope, noise), obs=y)


def load_data() -> tuple["pd.DataFrame", dict[str, list[str] | str]]:
    """The standardised data (442 rows), and which columns feed which argument of the model."""
    try:
        from sklearn.datasets import load_diabetes
    except ImportError as error:
        raise ImportError(
            "demo: the data come with scikit-learn, which is not installed: pip install "
            "scikit-learn"
        ) from error
    bunch: Any = load_diabetes(as_frame=True, scaled=False)
    frame = bunch.frame
    columns = [str(c) for c in frame.columns if c != "target"]
    return (frame - frame.mean()) / frame.std(), {"x": columns, "y": "target"}


def task(frame: "pd.DataFrame", columns: dict[str, list[str] | str]) -> ap.Task:
    """The datasets to train for: patients resampled, outcomes simulated from the prior."""
    covariates = list(columns["x"])
    dims, coords = {"x": ["covariate"], "slope": ["covariate"]}, {"covariate": covariates}
    inputs = {"x": frame[covariates]}
    return ap.Task(diabetes_regression, inputs, SIZES, dims=dims, coords=coords)


def run(
    out: str | Path = "demo",
    steps: int | None = None,
    minutes: float = 1.0,
    quiet: bool = False,
    warmup: int = 500,
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Trains, infers, compares with NUTS, and writes `posterior.nc` and `report.html`.

    Args:
        out: folder for what is written.
        steps: updates to train for; otherwise `minutes`.
        minutes: wall-clock minutes to train for.
        quiet: whether to say nothing.
        warmup, samples: of each of four NUTS chains.
        seed: of training, of the guide's draws and of NUTS.

    Returns:
        Seconds of `training`, `infer` (the second call, compiled) and `nuts`; `khat`; and the
        largest `difference` of the means, in posterior standard deviations.

    Raises:
        ImportError: scikit-learn is missing.
        OSError: the folder cannot be written.
    """
    out, console = Path(out), Console(quiet=quiet)
    out.mkdir(parents=True, exist_ok=True)
    frame, columns = load_data()
    sizes = f"{len(frame)} patients, {len(columns['x'])} covariates"
    console.print(f"Diabetes data: {sizes}, standardised.")
    console.print(f"[bold]1. Training[/bold] a guide {ON_SIMULATIONS}.")
    length: dict[str, Any] = {"steps": steps} if steps is not None else {"minutes": minutes}
    guide = ap.train(task(frame, columns), seed=seed, progress=not quiet, **length)
    console.print("[bold]2. Inference[/bold] from the real data by the guide.")
    guide.infer(frame, draws=4 * samples, columns=columns)
    tree, fast = _time(lambda: guide.infer(frame, draws=4 * samples, seed=seed, columns=columns))
    console.print("[bold]3. NUTS[/bold] on the same data, four chains.")
    reference, slow = _time(
        lambda: _nuts(guide, frame, columns, tree["posterior"].dataset, warmup, samples, seed)
    )
    reference.attrs |= {"method": "NUTS", "seconds": slow, "guide_seconds": fast}
    tree["reference_posterior"] = xr.DataTree(reference)
    posterior = write_tree(tree, out / "posterior.nc")
    report = write_report(tree, out / "report.html")
    khat, learned, difference = statistic(tree, "khat"), guide.record.seconds, _show(console, tree)
    once = f"after {learned:.0f} s of training that serve every further dataset"
    console.print(f"guide: {1000 * fast:.0f} ms, {once}")
    console.print(f"NUTS:  {slow:.1f} s, for this dataset alone")
    console.print(f"k-hat: {khat:.2f}, {verdict_of(tree)}")
    console.print(f"\nposterior: {posterior}\nreport:    {report}", soft_wrap=True, highlight=False)
    seconds = {"training": learned, "infer": fast, "nuts": slow}
    return {**seconds, "khat": khat, "difference": difference}


def _time(work: Any) -> tuple[Any, float]:
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def _nuts(
    guide: "Guide",
    frame: "pd.DataFrame",
    columns: dict[str, Any],
    like: xr.Dataset,
    warmup: int,
    samples: int,
    seed: int,
) -> xr.Dataset:
    """Draws by NUTS (Hoffman and Gelman 2014), with dimensions and labels as `like` has them."""
    from numpyro.infer import MCMC, NUTS

    kernel = NUTS(guide.task.model)
    mcmc = MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=samples,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(
        seed_key(seed),
        *(jnp.asarray(frame[columns[n]].to_numpy(), jnp.float32) for n in ("x", "y")),
    )
    draws = mcmc.get_samples(group_by_chain=True)
    labels = {n: c for n, c in like.coords.items() if n not in ("chain", "draw")}
    return xr.Dataset({n: (like[n].dims, np.asarray(draws[n])) for n in like}, coords=labels)


def _show(console: Console, tree: xr.DataTree) -> float:
    """Prints both posteriors and returns the largest difference of means in sds."""
    guide, nuts = (summaries(tree[g].dataset) for g in ("posterior", "reference_posterior"))
    table = Table(
        "latent",
        *(f"{who}\n{what}" for what in ("mean", "sd") for who in ("guide", "NUTS")),
        "difference\nin sds",
    )
    for column in table.columns[1:]:
        column.justify = "right"
    off = [(g.mean - n.mean) / n.sd for g, n in zip(guide, nuts, strict=True)]
    for g, n, d in zip(guide, nuts, off, strict=True):
        table.add_row(
            g.label.replace("[", r"\["), *(f"{v:.3f}" for v in (g.mean, n.mean, g.sd, n.sd, d))
        )
    console.print(table)
    return float(np.max(np.abs(off)))
