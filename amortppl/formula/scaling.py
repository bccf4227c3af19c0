"""Centres and units of columns: the program works with standardised ones."""

from typing import NamedTuple

import numpy as np


class Scaling(NamedTuple):
    """(column - centre) / unit for each of P columns.

    Attributes:
        centres: means; zero where there is no intercept to take them up.
        units: standard deviations; of a column that does not vary its size.
    """

    centres: np.ndarray
    units: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray, intercept: bool) -> "Scaling":
        """From a matrix (N, P) whose missing cells are NaN."""
        if not matrix.shape[1]:
            return cls(np.zeros(0), np.ones(0))
        level, spread = np.nanmean(matrix, 0), np.nanstd(matrix, 0)
        size = np.maximum(np.nanmax(np.abs(matrix), 0), 1e-300)
        varies = spread > 1e-9 * size
        units = np.where(varies, spread, np.where(size > 1e-200, size, 1.0))
        return cls(level if intercept else np.zeros(len(level)), units)

    def standardize(self, matrix: np.ndarray) -> np.ndarray:
        """Columns in standard units; missing cells become zero."""
        return np.nan_to_num((matrix - self.centres) / self.units)
