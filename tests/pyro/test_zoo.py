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
    found = compared(ZOO[name])
    assert found.gap < 1, (found.native, found.bridged)
    assert found.gradient_gap < 1e-5, (found.native_gradient, found.bridged_gradient)
