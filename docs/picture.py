"""Draws the README's picture from what `amortppl demo` wrote.

uv run amortppl demo && uv run python docs/picture.py
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr


def intervals(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """Ends of the central 90% with the mean between, by label."""
    ends = {}
    for name in posterior:
        draws = posterior[name].stack(sample=("chain", "draw")).transpose(..., "sample")
        labels = draws[draws.dims[0]].values if draws.ndim == 2 else [str(name)]
        for label, values in zip(labels, draws.values.reshape(-1, draws.shape[-1]), strict=True):
            low, high = np.quantile(values, [0.05, 0.95])
            ends[str(label)] = np.array([low, values.mean(), high])
    return ends


OUT = Path(__file__).with_name("guide_and_nuts.png")


def main(posterior: Path = Path("demo/posterior.nc"), out: Path = OUT) -> None:
    """Both posteriors, latent by latent."""
    tree = xr.open_datatree(posterior, engine="h5netcdf")
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    groups = (("guide", "posterior", "C0", 0.16), ("NUTS", "reference_posterior", "black", -0.16))
    for who, group, colour, shift in groups:
        ends = intervals(tree[group].dataset)
        place = -np.arange(len(ends)) + shift
        low, mean, high = np.array(list(ends.values())).T
        axis.hlines(place, low, high, colour, linewidth=2.5)
        axis.plot(mean, place, "o", color=colour, markersize=5, label=who)
        axis.set_yticks(-np.arange(len(ends)), list(ends))
    axis.axvline(0, color="0.8", linewidth=1, zorder=0)
    axis.set_xlabel("posterior mean and 90% interval, standardised units")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
