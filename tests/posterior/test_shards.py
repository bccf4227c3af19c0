"""States that would count rows twice."""

import numpy as np
import pytest

import amortppl as ap
from amortppl.errors import GuideError


def test_equal_states_do_not_combine(mean_guide):
    y = np.random.default_rng(0).normal(size=8)
    one, same = (mean_guide.step(mean_guide.init(), {"y": y}) for _ in range(2))
    for states in ([one, one], [one, same]):
        with pytest.raises(GuideError, match=r"states 0 and 1 are equal, .*same rows"):
            ap.combine(states)
