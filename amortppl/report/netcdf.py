"""Posteriors on disk: one NetCDF file in ArviZ's schema."""

import warnings
from pathlib import Path

import xarray as xr

from amortppl.runtime.files import write


def write_tree(tree: xr.DataTree, path: str | Path) -> Path:
    """Writes a tree in one move: on any failure nothing new is left and an older file stays.

    Raises:
        OSError: the place cannot be written.
    """
    write(path, bytes(tree.to_netcdf(engine="h5netcdf")))
    return Path(path)


def read_tree(path: str | Path) -> xr.DataTree:
    """Reads what `write_tree`, or ArviZ, wrote; the file is closed again.

    Raises:
        OSError: no such file, or it is not NetCDF.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with xr.open_datatree(path, engine="h5netcdf") as tree:
                return tree.load()
    except (OSError, ValueError, KeyError) as error:
        raise OSError(
            f"{path}: not a NetCDF file that can be read ({error}); was the copy cut short?"
        ) from error
