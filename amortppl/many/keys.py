"""Numbers of datasets from their names, that their random keys are made from.

A dataset's draws depend on the seed and on its name, not on which others lie beside it: so the
answers of many workers are those of one.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np


def numbers_of(names: Iterable[Any]) -> np.ndarray:
    """A number of 32 bits for each name, (T,).

    Example:
        >>> one, both = numbers_of(["bob"]), numbers_of(["ann", "bob"])
        >>> bool(one[0] == both[1]), bool(both[0] == both[1])
        (True, False)
    """
    digests = [blake2b(f"{type(n).__name__}:{n}".encode(), digest_size=4).digest() for n in names]
    return np.frombuffer(b"".join(digests), np.uint32)
