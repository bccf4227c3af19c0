"""Damaged files are refused with one error, or read as they were; some dozens of each kind.

`tests/benchmarks/test_fuzz.py` damages 2,000.
"""

import numpy as np
import pandas as pd
import pytest

from fuzz import count, fuzz_guides, fuzz_states, fuzz_tables, seed_or

pytestmark = pytest.mark.slow

NUMBER = 40


@pytest.fixture
def seed(capfd):
    number = seed_or(20261130)
    with capfd.disabled():
        print(f"\nfuzz: seed {number}, {count(NUMBER)} files of a kind")
    return number


def table():
    rng = np.random.default_rng(0)
    values = {n: rng.standard_normal(40).round(3) for n in ("x_0", "x_1", "y")}
    return pd.DataFrame(values | {"note": "a,b", "k": rng.integers(0, 9, 40)})


def test_damaged_guides(line_guide, line_task, tmp_path, seed):
    saved = line_guide.save(tmp_path / "saved")
    fuzz_guides(saved, line_task, tmp_path, count(NUMBER), seed)


def test_damaged_states(line_guide, line_data, tmp_path, seed):
    state = line_guide.step(line_guide.init(), line_data)
    saved = state.save(tmp_path / "saved")
    fuzz_states(line_guide, saved, tmp_path, count(NUMBER), seed)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_damaged_tables(tmp_path, seed, kind):
    (tmp_path / "saved").mkdir()
    saved = tmp_path / "saved" / f"rows.{kind}"
    table().to_csv(saved, index=False) if kind == "csv" else table().to_parquet(saved)
    fuzz_tables(saved, tmp_path, count(NUMBER), seed)
