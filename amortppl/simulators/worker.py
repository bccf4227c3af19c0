"""Draws of a Python simulator, one after another, in whichever process this is called.

Imports NumPy alone, so that a worker process starts fast.
"""

import pickle
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

Outcome = dict[str, np.ndarray] | str
"""What one draw gave: arrays by name, or in words why there are none."""


@dataclass(frozen=True)
class Call:
    """How a simulator is called.

    Attributes:
        simulator: the function.
        by_name: latents that it takes as arguments of their own.
        together: the argument that takes all latents as a dict; None where there is none.
        random: `rng`, `seed` or `key`, the argument that takes randomness; None where it draws from
            `numpy.random` and `random`, which are then seeded before every call.
        rows: whether it takes the number of rows.
    """

    simulator: Callable[..., Any]
    by_name: tuple[str, ...]
    together: str | None
    random: str | None
    rows: bool

    def arguments(self, values: Mapping[str, Any], rows: int | None) -> dict[str, Any]:
        """All but what is random."""
        given: dict[str, Any] = {n: values[n] for n in self.by_name}
        given |= {} if self.together is None else {self.together: dict(values)}
        return given | ({"rows": rows} if self.rows else {})


class Chunk(NamedTuple):
    """Outcomes of several draws.

    Attributes:
        numbers: of the draws.
        outcomes: one for each.
        seconds: what they took.
    """

    numbers: list[int]
    outcomes: list[Outcome]
    seconds: float


def simulate_sent(sent: bytes, *work: Any) -> Chunk:
    """`simulate_chunk` of a call that was sent to this process."""
    return simulate_chunk(_received(sent), *work)


@lru_cache(4)
def _received(sent: bytes) -> Call:
    return pickle.loads(sent)


def simulate_chunk(
    call: Call,
    values: Mapping[str, np.ndarray],
    rows: int | None,
    entropy: Sequence[Sequence[int]],
    numbers: list[int],
) -> Chunk:
    """Calls the simulator once for each of n draws of the latents, (n, ...) by name.

    Draw i has the randomness of `entropy[i]`, in whichever process and order it is made.
    """
    begin, state = time.perf_counter(), (random.getstate(), np.random.get_state())
    outcomes = []
    for i, own in enumerate(entropy):
        one = {n: v[i] for n, v in values.items()}
        outcomes.append(simulate_one(call, one, rows, own))
    random.setstate(state[0])
    np.random.set_state(state[1])
    return Chunk(numbers, outcomes, time.perf_counter() - begin)


def simulate_one(
    call: Call, values: Mapping[str, Any], rows: int | None, entropy: Sequence[int]
) -> Outcome:
    """What the simulator gives for one draw of the latents."""
    given = call.arguments(values, rows) | _randomness(call, entropy)
    try:
        return read_output(call.simulator(**given))
    except (Exception, SystemExit) as error:
        return f"raised {type(error).__name__}: {str(error)[:200]}"


def _randomness(call: Call, entropy: Sequence[int]) -> dict[str, Any]:
    sequence = np.random.SeedSequence(list(entropy))
    seed = int(sequence.generate_state(1)[0])
    if call.random is None:
        random.seed(seed)
        np.random.seed(seed)
        return {}
    return {call.random: np.random.default_rng(sequence) if call.random == "rng" else seed}


def read_output(output: Any) -> Outcome:
    """A simulator's output as arrays of 32 bits by name (`x` where it has no names), or in words
    what is wrong with it.

    >>> {n: v.tolist() for n, v in read_output([1, 2]).items()}
    {'x': [1.0, 2.0]}
    >>> read_output("fast")
    "gave text in 'x'"
    """
    arrays = {}
    for name, value in (output if isinstance(output, Mapping) else {"x": output}).items():
        try:
            array = np.asarray(value)
        except Exception as error:
            return f"gave no array in {str(name)!r} ({type(error).__name__})"
        if array.dtype.kind not in "biuf":
            kinds = {"U": "text", "S": "text", "c": "complex numbers"}
            none = "None" if value is None else f"no numbers ({array.dtype})"
            return f"gave {kinds.get(array.dtype.kind, none)} in {str(name)!r}"
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            return f"gave NaN or infinity in {str(name)!r}"
        arrays[str(name)] = array
    return arrays or "gave an empty dict"
