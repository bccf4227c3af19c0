"""Numbers that a user passes, each refused by its own name."""

import numpy as np
import pytest

from amortppl.errors import DataError, TrainingError
from amortppl.runtime.arguments import expect_draws, expect_positive, expect_seed, expect_whole


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3", None, np.float64(2)])
def test_whole_numbers(value):
    with pytest.raises(TrainingError, match="steps: expected a whole number, at least 1, got"):
        expect_whole("steps", value, 1, error=TrainingError)
    expect_whole("steps", np.int64(3), 1)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "1", True])
def test_positive_numbers(value):
    with pytest.raises(DataError, match="minutes: expected a finite number above 0"):
        expect_positive("minutes", value)
    expect_positive("minutes", 0.5)


def test_seeds_have_64_bits():
    for seed in (0, -1, 2**63 - 1, np.uint32(7)):
        expect_seed(seed)
    for seed in (2**63, -(2**63) - 1, 1.5):
        with pytest.raises(DataError, match="seed: expected a whole number"):
            expect_seed(seed)


def test_draws_fit_the_memory():
    expect_draws(1000, 10)
    with pytest.raises(DataError, match="draws: expected at least 1, got 0"):
        expect_draws(0, 10)
    with pytest.raises(DataError, match=r"1,000,000,000,000 draws of 3 numbers .* GB"):
        expect_draws(10**12, 3)
