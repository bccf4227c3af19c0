"""Sums over discrete latents by tables, against brute force and the forward recursion."""

from itertools import product

import numpy as np
import pytest
from scipy.special import logsumexp

from amortppl.task.factor_tables import find_tables, log_sum

RNG = np.random.default_rng(0)
STATES = 3


def chain(length, rows):
    """Factors of chains of three states: the first, the moves, and the observations of each row."""
    first, move = RNG.normal(size=STATES), RNG.normal(size=(STATES, STATES))
    seen = RNG.normal(size=(length, STATES, rows))

    def factors(z):
        moves = [move[z[:, t - 1], z[:, t]] for t in range(1, length)]
        rest = [seen[t][z[:, t], np.arange(rows)] for t in range(length)]
        return np.stack([first[z[:, 0]], *moves, *rest], 1)

    return factors, (first, move, seen)


def at_runs(factors, tables, rows):
    return factors(np.broadcast_to(tables.states[..., None], (*tables.states.shape, rows)))


def test_a_chain_by_brute_force():
    """3^6 configurations, four rows; nine runs hold all tables."""
    factors, _ = chain(6, 4)
    tables = find_tables(factors, np.full(6, STATES), 4)
    every = np.array(list(product(range(STATES), repeat=6)))
    truth = logsumexp(factors(np.repeat(every[..., None], 4, 2)).sum(1), 0)
    assert len(tables.states) == 9
    assert log_sum(tables, at_runs(factors, tables, 4)) == pytest.approx(truth, abs=1e-10)


def test_a_long_chain_by_the_forward_recursion():
    factors, (first, move, seen) = chain(200, 1)
    tables = find_tables(factors, np.full(200, STATES), 1)
    level = first[:, None] + seen[0]
    for t in range(1, 200):
        level = logsumexp(level[:, None] + move[..., None], 0) + seen[t]
    truth = logsumexp(level, 0)
    assert log_sum(tables, at_runs(factors, tables, 1)) == pytest.approx(truth, abs=1e-8)


def test_rows_that_depend_on_one_another_have_no_tables():
    """The square of the sum over all rows is no sum over rows."""

    def factors(z):
        return np.repeat(z.sum(2, keepdims=True) ** 2.0, z.shape[2], 2)

    assert find_tables(factors, np.array([2]), 3) is None
