"""Names and labels of the axes of a posterior's variables."""

from typing import Any

from amortppl.data.dataset import Dataset
from amortppl.training.trained import TrainedMethod


class AxisNames:
    """Names of axes and labels along them, from plates, the task's `dims` and `coords`, and
    columns.
    """

    def __init__(self, guide: TrainedMethod, dataset: Dataset) -> None:
        self.task = guide.task
        plates = {
            p
            for s in self.task.sites.values()
            for axis, p in s.plates.items()
            if s.name in self.task.observed.values() and axis == 0
        }
        self.row = "row" if self.task.block else next(iter(sorted(plates)), "row")
        self.coords: dict[str, list[Any]] = dict(self.task.coords)
        for name, labels in dataset.labels.items():
            axes = self.of(name)
            if axes and len(labels) > 1:
                self.coords.setdefault(axes[-1], labels)

    def of(self, name: str) -> list[str]:
        """Axis names of a latent, a deterministic site, or (rows first) an argument."""
        task = self.task
        if name in task.arguments:
            shape, site = task.rows_like[name].shape, task.sites.get(task.observed.get(name, ""))
            lead = 1
        else:
            site = task.sites.get(name) or task.deterministic[name]
            shape, lead = site.shape, 0
        rest = list(range(lead, len(shape)))
        given = task.dims.get(name, [])
        plates = site.plates if site else {}
        shift = 1 if lead and task.block else 0
        axes = [
            given[i] if i < len(given) else plates.get(axis - shift, f"{name}_dim_{i}")
            for i, axis in enumerate(rest)
        ]
        return ([] if task.block or not lead else [self.row]) + axes

    def of_local(self, name: str) -> list[str]:
        """Axis names of a site with one value per row, in the site's own order; `dims` names those
        beside the rows.
        """
        site, row = self.task.local.shown[name], self.task.local.axes[name]
        rest = [axis for axis in range(len(site.shape)) if axis != row]
        given = self.task.dims.get(name, [])
        named = {a: given[i] if i < len(given) else f"{name}_dim_{i}" for i, a in enumerate(rest)}
        return [
            self.row if a == row else site.plates.get(a, named[a]) for a in range(len(site.shape))
        ]
