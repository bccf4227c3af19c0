"""Posteriors in NetCDF files, in ArviZ's schema."""

import warnings
from pathlib import Path

import xarray as xr

from amortppl.runtime.files import write
from amortppl.runtime.outputs import expect_output


def write_tree(tree: xr.DataTree, path: str | Path) -> Path:
    """Writes a tree to a file, in one move.

    On any failure nothing new is left and an older file stays.

    Raises:
        OSError: the place cannot be written.
    """
    expect_output(path)
    write(path, bytes(tree.to_netcdf(engine="h5netcdf")))
    return Path(path)


def read_tree(path: str | Path) -> xr.DataTree:
    """Reads what `write_tree`, or ArviZ, wrote, and closes the file.

    Raises:
        OSError: no such file, it is not NetCDF, or it refers to other files.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        _expect_closed(Path(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with xr.open_datatree(path, engine="h5netcdf") as tree:
                return tree.load()
    except (OSError, ValueError, KeyError) as error:
        raise OSError(
            f"{path}: not a NetCDF file that can be read ({error}); was the copy cut short?"
        ) from error


def _expect_closed(path: Path) -> None:
    """Refuses HDF5 files that take values from other files, which a stranger's could name.

    Raises:
        ValueError: naming the variable.
    """
    import h5py

    with h5py.File(path) as file:
        groups, seen = [file["/"]], set()
        while groups:
            group = groups.pop()
            for name in group:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    raise ValueError(f"{name!r} is a link to another file, which is not followed")
                if isinstance(link, h5py.SoftLink):
                    continue
                item = group[name]
                if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                    raise ValueError(f"{name!r} has its values in other files, which are not read")
                address = h5py.h5o.get_info(item.id).addr
                if isinstance(item, h5py.Group) and address not in seen:
                    seen.add(address)
                    groups.append(item)
