"""NumPyro's plates over given rows.

Leans on the attribute `_indices` of `numpyro.plate`, which holds the rows that a plate has chosen.
`numpyro.plate` draws them itself and takes none; Pyro's models may give them. Checked with NumPyro
0.22.0; tests/runtime/test_internals.py fails where a plate keeps its rows elsewhere.
"""

from typing import Any

import numpyro
from jaxtyping import Array, Int


def plate_of_rows(name: str, size: int, rows: Int[Array, " M"]) -> Any:
    """A plate of so many rows of which the given ones are chosen."""
    plate = numpyro.plate(name, size, subsample_size=len(rows), dim=-1)
    plate._indices = rows
    return plate


def plate_rows(plate: Any) -> Int[Array, " M"]:
    """The rows that a plate has chosen."""
    return plate._indices
