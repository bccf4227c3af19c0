"""Which way the latents of rows are integrated out: row by row, or as one of the paths."""

from amortppl.errors import ModelError
from amortppl.task.abstract import AbstractTask
from amortppl.task.local_latents import Local
from amortppl.task.path_latents import Path
from amortppl.task.path_quadrature import SmoothPath
from amortppl.task.path_states import StatePath


def checked(task: AbstractTask, local: Local) -> tuple[Local, list[str]]:
    """The way that fits, and the deterministic sites without an axis of rows that it changes.

    Where each row's latents follow from those of the row before, they are the path of a state
    space: of discrete states, linear and Gaussian, or with other smooth densities.

    Raises:
        ModelError: none fits.
    """
    probe = (task.deterministic, task.fixed, task.has_density)
    series = (task.ordered or task.may_be_ordered) and task.row_free
    if any(s.discrete for s in local.sites.values()):
        chain = StatePath(local)
        return chain, chain.check(*probe)
    try:
        return local, local.check(*probe)
    except ModelError:
        if not (local.follow and series):
            raise
    path = Path(local)
    try:
        return path, path.check(*probe)
    except ModelError:
        if not path.curved:
            raise
    smooth = SmoothPath(path)
    return smooth, smooth.check(*probe)
