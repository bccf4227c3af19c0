"""Maps of latents that keep volumes, under which many posteriors of several modes do not change:
another sign, or two components exchanged.
"""

from functools import lru_cache
from itertools import combinations, islice
from math import prod
from typing import Any

import numpy as np

from amortppl.task.abstract import AbstractTask

MOST_LATENTS = 12
"""Latents up to which all maps of one and two signs are tried."""


@lru_cache(maxsize=32)
def volume_keeping_maps(task: AbstractTask, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Exchanges of two entries of all vectors of one length, then changes of one and two signs; the
    vector itself where there are none.

    Args:
        task: the task.
        most: maps at most; of a vector of 600 there are 180,000.

    Returns:
        For each map an order of the entries (M, P) and their signs (M, P): g(u) = signs u[order].
    """
    size = task.latents.size
    places = _places(task.latents.unconstrained)
    lengths = dict.fromkeys(p.shape[-1] for p in places.values() if p.ndim)
    exchanges = (
        order
        for length in lengths
        for pair in combinations(range(length), 2)
        for order in _exchanges(places, length, pair, size)
    )
    orders = list(islice(exchanges, most))
    signs = [np.ones(size)] * len(orders)
    if size <= MOST_LATENTS:
        flipped = [c for n in (1, 2) for c in combinations(range(size), n)]
        signs += [np.where(np.isin(np.arange(size), c), -1.0, 1.0) for c in flipped]
    orders += [np.arange(size)] * (len(signs) - len(orders))
    return np.array(orders[:most] or [np.arange(size)]), np.array(signs[:most] or [np.ones(size)])


def _places(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Where each site's entries lie in the vector (`Latents.unflatten`, by NumPy)."""
    ends = np.cumsum([prod(shapes[n]) for n in sorted(shapes)])
    places = np.split(np.arange(ends[-1]), ends[:-1])
    return {n: p.reshape(shapes[n]) for n, p in zip(sorted(shapes), places, strict=True)}


def _exchanges(places: Any, length: int, pair: tuple[int, int], size: int) -> list[np.ndarray]:
    """Orders of the entries of a vector that exchange two entries of all sites, and of each."""
    sites = [np.asarray(p) for p in places.values() if np.ndim(p) and np.shape(p)[-1] == length]
    groups = [sites] + ([[s] for s in sites] if len(sites) > 1 else [])
    orders = []
    for group in groups:
        order = np.arange(size)
        for site in group:
            order[site[..., pair[0]]], order[site[..., pair[1]]] = (
                site[..., pair[1]],
                site[..., pair[0]],
            )
        orders.append(order)
    return orders
