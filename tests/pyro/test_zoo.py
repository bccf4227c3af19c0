"""Every model of the zoo: log density and gradient at a draw from the prior, by Pyro and through
the bridge.
"""

import pytest

pytest.importorskip("torch", reason="the extra `pyro` is not installed")

from zoo import ZOO
from zoo.compare import compared


def test_there_are_many():
    assert len(ZOO) >= 60


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ZOO)
def test_log_density_and_gradient(name):
    densities = compared(ZOO[name])
    assert densities.gap < 1, (densities.native, densities.bridged)
    assert densities.gradient_gap < 1e-5, (densities.native_gradient, densities.bridged_gradient)
