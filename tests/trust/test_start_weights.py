"""k-hat of the weights that chains start by."""

import numpy as np

from amortppl.trust.psis import khat_of


def test_weights_of_a_heavy_tail_are_not_reliable():
    """Pareto tails of index 1/k have k-hat k; 4,000 weights leave 0.1 (beyond 0.7 and 0.5 one
    time in a thousand).
    """
    uniform = np.random.default_rng(0).random((2, 4000))
    khat = khat_of(-np.array([[1.2], [0.2]]) * np.log(uniform))
    assert khat[0] > 0.7 and khat[1] < 0.5


def test_weights_that_are_nowhere_finite_are_not_reliable():
    assert np.isposinf(khat_of(np.full((1, 500), -np.inf)))[0]
