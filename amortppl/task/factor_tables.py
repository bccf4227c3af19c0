"""Sums over discrete latents by variable elimination, from nothing but a model's log density.

    log sum_z exp f(z),    f(z) = sum_k f_k(z)

Which of the V entries of z a factor f_k depends on is found by changing one entry at a time. The
entries of one factor get unlike colours; then a run for each combination of states by colour holds
every factor's whole table, which for a label costs K runs and for a chain of K states K^2, however
long it is. Tables are summed out one entry after another (Koller and Friedman 2009, "Probabilistic
Graphical Models", algorithm 9.1). What was found is tried at random configurations, where every row
has its own: they must give what the tables give, or nothing is summed.

Rows are an axis of all arrays: B rows have the same tables with other numbers.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

Factors = Callable[[np.ndarray], np.ndarray]
"""States (C, V, B) -> log densities of F factors (C, F, B)."""

RUNS = 4096
"""Combinations of states by colour at most."""

WIDEST = 1 << 16
"""Entries of a table at most, for one row."""

WORK = 1 << 25
"""Numbers at most that are looked at to see what depends on what."""

TRIED, CLOSE = 8, 1e-9
"""Random configurations that are tried, and how close two equal log densities are."""


class Tables(NamedTuple):
    """Where the tables of a model's factors are found.

    Attributes:
        states: of every entry in every run, (C, V).
        scopes: for each set of entries the factors that depend on it, and the runs (K_1, .., K_m)
            that hold their tables.
        order: in which entries are summed out.
    """

    states: np.ndarray
    scopes: tuple[tuple[tuple[int, ...], np.ndarray, np.ndarray], ...]
    order: tuple[int, ...]


def find_tables(factors: Factors, sizes: np.ndarray, rows: int) -> Tables | None:
    """The tables of a model, or None where it cannot be summed so.

    Args:
        sizes: number of states of each entry, (V,).
        rows: B, few.
    """
    rng = np.random.default_rng(17)
    for bases in (2, 6):
        tables = _tables(factors, sizes, rows, bases, rng)
        # An entry that no factor knows, as under a mask, has nothing to be summed by.
        if tables is None or not set(tables.order) <= {e for s, *_ in tables.scopes for e in s}:
            return None
        if _agrees(factors, tables, sizes, rows, rng):
            return tables
    return None


def log_sum(tables: Tables, factors: np.ndarray) -> np.ndarray:
    """log sum_z of the factors (C, F, B) at the runs `tables.states`, (B,)."""
    held = [(scope, _table(factors, ks, runs)) for scope, ks, runs in tables.scopes]
    for entry in tables.order:
        own = [t for t in held if entry in t[0]]
        scope = tuple(sorted({e for s, _ in own for e in s}))
        product = sum(_spread(s, t, scope) for s, t in own)
        kept = tuple(e for e in scope if e != entry)
        held = [t for t in held if entry not in t[0]]
        held.append((kept, logsumexp(product, scope.index(entry))))
    return sum(t for _, t in held)


def _table(factors: np.ndarray, ks: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """The sum of some factors at some runs, (K_1, .., K_m, B)."""
    return factors[runs[..., None], ks].sum(-2)


def _spread(scope: tuple[int, ...], table: np.ndarray, wide: tuple[int, ...]) -> np.ndarray:
    """A table with an axis for every entry of a wider scope."""
    shape = iter(table.shape)
    return table.reshape([next(shape) if e in scope else 1 for e in wide] + [table.shape[-1]])


def _tables(
    factors: Factors, sizes: np.ndarray, rows: int, bases: int, rng: np.random.Generator
) -> Tables | None:
    depends = _dependence(factors, sizes, rows, bases, rng)
    if depends is None:
        return None
    order = _elimination(depends, sizes)
    colours = _colours(depends)
    most = [int(sizes[colours == c].max()) for c in range(colours.max() + 1)]
    if order is None or np.prod(np.array(most, float)) > RUNS:
        return None
    runs = np.indices(most).reshape(len(most), -1).T
    states = np.minimum(runs[:, colours], sizes - 1)
    steps = np.array([int(np.prod(most[c + 1 :])) for c in range(len(most))])
    scopes = []
    for pattern in np.unique(depends, axis=0):
        own = tuple(int(e) for e in np.nonzero(pattern)[0])
        axes = np.ix_(*[np.arange(sizes[e]) * steps[colours[e]] for e in own])
        places = sum(axes, np.zeros((), int))
        scopes.append((own, np.nonzero((depends == pattern).all(1))[0], np.asarray(places)))
    return Tables(states, tuple(scopes), order)


def _dependence(
    factors: Factors, sizes: np.ndarray, rows: int, bases: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Which factor changes with which entry, (F, V)."""
    count, depends = len(sizes), None
    for _ in range(bases):
        base = rng.integers(0, sizes[:, None], (count, rows))
        other = (base + rng.integers(1, sizes[:, None], (count, rows))) % sizes[:, None]
        before = factors(base[None])
        if before.size * count * bases > WORK:
            return None
        changed = np.where(np.eye(count, dtype=bool)[:, :, None], other, base)
        moved = _differ(factors(changed), before).any(-1).T
        depends = moved if depends is None else depends | moved
    return depends


def _differ(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return ~((one == two) | (np.abs(one - two) <= CLOSE * (1 + np.abs(two))))


def _colours(depends: np.ndarray) -> np.ndarray:
    """Colours (V,), unlike for entries of one factor."""
    meet = (depends.T.astype(int) @ depends.astype(int)) > 0
    colours = np.full(len(meet), -1)
    for entry in range(len(meet)):
        taken = set(colours[meet[entry]])
        colours[entry] = next(c for c in range(len(meet) + 1) if c not in taken)
    return colours


def _elimination(depends: np.ndarray, sizes: np.ndarray) -> tuple[int, ...] | None:
    """Entries by fewest neighbours first; None where a table grows too large."""
    meet = (depends.T.astype(int) @ depends.astype(int)) > 0
    np.fill_diagonal(meet, False)
    left, order = set(range(len(sizes))), []
    while left:
        entry = min(left, key=lambda e: (meet[e].sum(), e))
        near = np.nonzero(meet[entry])[0]
        if np.prod(sizes[near].astype(float)) * sizes[entry] > WIDEST:
            return None
        meet[np.ix_(near, near)] = True
        meet[near, near] = False
        meet[entry], meet[:, entry] = False, False
        left.remove(entry)
        order.append(entry)
    return tuple(order)


def _agrees(
    factors: Factors, tables: Tables, sizes: np.ndarray, rows: int, rng: np.random.Generator
) -> bool:
    """Whether random configurations have the log density that the tables say, row by row."""
    states = rng.integers(0, sizes[:, None], (TRIED, len(sizes), rows))
    direct, runs = factors(states).sum(1), factors(_same(tables.states, rows))
    each = np.arange(rows)
    by_table = np.zeros(direct.shape)
    for own, ks, places in tables.scopes:
        table = _table(runs, ks, places)
        by_table += table[(*(states[:, e] for e in own), each)]
    return not _differ(by_table, direct).any()


def _same(states: np.ndarray, rows: int) -> np.ndarray:
    return np.broadcast_to(states[:, :, None], (*states.shape, rows))
