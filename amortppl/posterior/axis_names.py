"""Names and labels of the axes of a posterior's variables."""

from typing import Any

from amortppl.data.dataset import Dataset
from amortppl.training.trained import TrainedMethod


class AxisNames:
    """Names of axes and labels along them, from plates, `dims`, `coords` and columns.

    Args:
        guide: the guide, whose task has `dims` and `coords`.
        dataset: a dataset, whose columns may be labels.
    """

    def __init__(self, guide: TrainedMethod, dataset: Dataset) -> None:
        self.task = guide.task
        observed = [s for s in self.task.sites.values() if s.name in self.task.observed.values()]
        plates = sorted({s.plates[0] for s in observed if 0 in s.plates})
        self.row = "row" if self.task.block else next(iter(plates), "row")
        self.coords: dict[str, list[Any]] = dict(self.task.coords)
        if self.task.grouping:
            self._name_groups(dataset)
        for name, labels in dataset.labels.items():
            axes = self.of(name)
            if axes and len(labels) > 1:
                self.coords.setdefault(axes[-1], labels)

    def _name_groups(self, dataset: Dataset) -> None:
        """The axis of the groups, with their labels, and that of the rows in them."""
        self.row = self.task.groups.name
        observed = [s for s in self.task.sites.values() if s.name in self.task.groups.sites]
        plates = sorted({s.plates[1] for s in observed if 1 in s.plates})
        self.inner = next((p for p in plates if p != self.row), "row")
        if dataset.groups is not None:
            self.coords[self.row] = dataset.groups.labels

    def of(self, name: str) -> list[str]:
        """Axis names of a latent, a deterministic site, or (rows first) an argument."""
        task = self.task
        if name in task.arguments:
            shape, site = task.rows_like[name].shape, task.sites.get(task.observed.get(name, ""))
            lead = 1
        else:
            site = task.sites.get(name) or task.deterministic[name]
            shape, lead = site.shape, 0
        dims = task.dims.get(name, [])
        plates = site.plates if site else {}
        shift = 1 if lead and task.block else 0
        axes = [
            dims[i] if i < len(dims) else plates.get(axis - shift, f"{name}_dim_{i}")
            for i, axis in enumerate(range(lead, len(shape)))
        ]
        if lead and task.grouping and name not in task.groups.arguments.whole:
            return [self.inner, *axes[1:]]
        return ([] if task.block or not lead else [self.row]) + axes

    def of_local(self, name: str) -> list[str]:
        """Axis names of a site with one value per row, in the site's own order.

        The task's `dims` names the axes beside that of the rows.
        """
        site, row = self.task.local.shown[name], self.task.local.axes[name]
        rest = [axis for axis in range(len(site.shape)) if axis != row]
        dims = self.task.dims.get(name, [])
        named = {a: dims[i] if i < len(dims) else f"{name}_dim_{i}" for i, a in enumerate(rest)}
        return [
            self.row if a == row else site.plates.get(a, named[a]) for a in range(len(site.shape))
        ]
