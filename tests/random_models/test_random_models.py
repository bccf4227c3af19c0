"""Random models are refused with one clear error, or read as they are.

`tests/benchmarks/test_random_models.py` judges 2,000.
"""

import pytest

from random_models.running import check, number_of_models, seed_or


def test_a_few_models():
    check("numpyro", 4, 0)


@pytest.mark.slow
def test_some_dozens_of_numpyro_models(capfd):
    number, seed = number_of_models(28), seed_or(20261130)
    with capfd.disabled():
        print(f"\nrandom models: seed {seed}, {number} of NumPyro")
    check("numpyro", number, seed)


@pytest.mark.slow
def test_some_dozens_of_pyro_models(capfd):
    pytest.importorskip("pyro")
    number, seed = number_of_models(28) // 4, seed_or(20261130)
    with capfd.disabled():
        print(f"\nrandom models: seed {seed}, {number} of Pyro")
    check("pyro", number, seed)
