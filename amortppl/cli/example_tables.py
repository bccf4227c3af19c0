"""Real tables to try the command line on: they come with scikit-learn, and nothing is downloaded.

example:diabetes       442 patients: progression of the disease after a year
example:breast_cancer  569 tumours: diagnosis by ten measures of cell nuclei
example:iris           150 flowers of three species
example:wine           178 wines of three growers
example:exercise       20 men: chin-ups, sit-ups, jumps, and their bodies
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from amortppl.errors import DataError, nearest, quoted

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "example:"

DIABETES = ["age", "sex", "bmi", "bp", "tc", "ldl", "hdl", "tch", "ltg", "glu", "progression"]
"""Columns as Efron, Hastie, Johnstone and Tibshirani 2004, "Least angle regression", have them."""


def read_example(name: str) -> "pd.DataFrame":
    """A table by its name.

    >>> read_example("example:diabetes").shape
    (442, 11)

    Raises:
        DataError: there is none of this name.
    """
    name = name.removeprefix(PREFIX)
    if name not in TABLES:
        raise DataError(
            f"data: no example table {name!r} (there are {quoted(TABLES)}){nearest(name, TABLES)}"
        )
    return TABLES[name]()


def _diabetes() -> "pd.DataFrame":
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True, scaled=False)["frame"].set_axis(DIABETES, axis=1)
    return frame.astype({"age": int, "sex": int, "progression": int})


def _of_levels(load: str, outcome: str) -> Callable[[], "pd.DataFrame"]:
    """A reader of one of scikit-learn's tables of classes, with the names of the classes."""

    def read() -> "pd.DataFrame":
        from sklearn import datasets

        bunch: Any = getattr(datasets, load)(as_frame=True)
        names = [c.replace(" (cm)", "").replace(" ", "_").replace("/", "_") for c in bunch.data]
        frame = bunch.data.set_axis(names, axis=1)
        return frame.assign(**{outcome: bunch.target_names[bunch.target]})

    return read


def _exercise() -> "pd.DataFrame":
    from sklearn.datasets import load_linnerud

    frame = load_linnerud(as_frame=True)["frame"].astype(int)
    return frame.set_axis([str(c).lower() for c in frame], axis=1)


TABLES: dict[str, Callable[[], "pd.DataFrame"]] = {
    "diabetes": _diabetes,
    "breast_cancer": _of_levels("load_breast_cancer", "diagnosis"),
    "iris": _of_levels("load_iris", "species"),
    "wine": _of_levels("load_wine", "grower"),
    "exercise": _exercise,
}
"""Readers by name."""
