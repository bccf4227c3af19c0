"""How a simulator wants to be called, read from the names of its arguments."""

import inspect
from collections.abc import Callable, Collection
from typing import Any

from amortppl.errors import ModelError, quoted
from amortppl.simulators.worker import Call

RANDOM = ("rng", "seed", "key")
"""Names of the argument that takes randomness: a NumPy generator, a whole number, a key of JAX."""

_HOW = (
    "A simulator takes latents by their names, or all of them as a dict in an argument of another "
    "name; `rng` (a numpy Generator), `seed` (a whole number) or, if it is written in JAX, `key`; "
    "and `rows`, the number of rows"
)


def read_signature(simulator: Callable[..., Any], latents: Collection[str]) -> Call:
    """How to call a simulator of these latents.

    >>> call = read_signature(lambda mean, rng: rng.normal(mean), ["mean"])
    >>> call.by_name, call.together, call.random, call.rows
    (('mean',), None, 'rng', False)

    Raises:
        ModelError: it is no function, or nothing says what an argument gets.
    """
    if not callable(simulator):
        raise ModelError(
            f"simulator: expected a function of one draw of the latents, got "
            f"{type(simulator).__name__}"
        )
    try:
        parameters = inspect.signature(simulator).parameters
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"simulator: the arguments of {simulator!r} cannot be read ({error}); call it in a "
            f"function of your own. {_HOW}"
        ) from error
    if all(p.kind == p.VAR_KEYWORD for p in parameters.values()):
        return Call(simulator, tuple(latents), None, None, False)
    _refuse_positional(parameters)
    named = [n for n, p in parameters.items() if p.kind != p.VAR_KEYWORD]
    random = [n for n in named if n in RANDOM and n not in latents]
    rows = "rows" in named and "rows" not in latents
    others = [n for n in named if n not in (*latents, *random, *(["rows"] if rows else []))]
    free = [n for n in others if parameters[n].default is inspect.Parameter.empty]
    if len(free) > 1 or len(random) > 1:
        raise ModelError(
            f"simulator: nothing says what its arguments {quoted(free or random)} get; the latents "
            f"are {quoted(latents)}. {_HOW}"
        )
    by_name = tuple(n for n in named if n in latents)
    return Call(simulator, by_name, free[0] if free else None, next(iter(random), None), rows)


def _refuse_positional(parameters: Any) -> None:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    unnamed = [n for n, p in parameters.items() if p.kind in kinds]
    if unnamed:
        raise ModelError(
            f"simulator: its arguments {quoted(unnamed)} have no names to be called by; call it in "
            f"a function of your own. {_HOW}"
        )
