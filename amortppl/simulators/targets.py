"""What a posterior is wanted of: some latents, and functions of latents. The rest is integrated
out.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from amortppl.errors import ModelError, nearest, quoted
from amortppl.simulators.prior import PriorSite

Targets = Sequence[str | Callable[..., Any]] | None


class Chosen(NamedTuple):
    """Targets by name.

    Attributes:
        names: latents.
        functions: of latents, which they take by their names.
    """

    names: tuple[str, ...]
    functions: dict[str, Callable[..., Any]]

    def needed(self) -> list[str]:
        """Latents that are targets or that functions take."""
        of_functions = [n for f in self.functions.values() for n in inspect.signature(f).parameters]
        return list(dict.fromkeys([*self.names, *of_functions]))

    def of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The targets of one draw of the latents."""
        return {n: values[n] for n in self.names} | {
            n: _call(n, f, {k: values[k] for k in inspect.signature(f).parameters})
            for n, f in self.functions.items()
        }

    def of_many(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The targets of M draws, (M, ...) by name."""
        if not self.functions:
            return {n: values[n] for n in self.names}
        needed = {n: np.asarray(values[n]) for n in self.needed()}
        count = len(next(iter(needed.values())))
        each = [self.of({n: v[i] for n, v in needed.items()}) for i in range(count)]
        return {
            n: values[n] if n in self.names else _stack(n, [e[n] for e in each]) for n in each[0]
        }


def choose(targets: Targets, latents: Sequence[str]) -> Chosen:
    """Targets among these latents; all of them where none are named.

    >>> choose(["a", lambda a, b: a / b], ["a", "b"]).needed()
    ['a', 'b']

    Raises:
        ModelError: a name or an argument of a function is no latent.
    """
    if targets is None:
        return Chosen(tuple(latents), {})
    wrong = isinstance(targets, str) or not targets
    if wrong or any(not (isinstance(t, str) or callable(t)) for t in targets):
        raise ModelError(
            "targets: expected a list of latents' names and of functions of latents, got "
            f"{targets!r}"
        )
    functions = [t for t in targets if not isinstance(t, str)]
    named = {getattr(f, "__name__", "target").strip("<>"): f for f in functions}
    chosen = Chosen(tuple(t for t in targets if isinstance(t, str)), named)
    if len(named) < len(functions):
        raise ModelError("targets: functions of the same name; define them with names of their own")
    if len(set(chosen.names)) < len(chosen.names):
        raise ModelError(f"targets: a latent is named twice in {list(chosen.names)}")
    unknown = [n for n in chosen.needed() if n not in latents]
    if unknown:
        raise ModelError(
            f"targets: {quoted(unknown)} not among the latents "
            f"{quoted(latents)}{nearest(unknown[0], latents)}"
        )
    both = [n for n in named if n in chosen.names]
    if both:
        raise ModelError(f"targets: {quoted(both)} is a latent and a function; rename the function")
    return chosen


def expect_continuous(chosen: Chosen, sites: Mapping[str, PriorSite]) -> None:
    """Refuses targets that can be counted.

    Raises:
        ModelError: naming them.
    """
    discrete = [n for n in chosen.names if sites[n].discrete]
    if discrete:
        others = [n for n, s in sites.items() if s.sampled and not s.discrete]
        instead = (
            f"Name the others, as in targets={others!r}, and it is integrated out"
            if others
            else "There is no other latent; to choose among values, make a task of each and ask "
            "ap.compare_models"
        )
        raise ModelError(
            f"prior: the latent {quoted(discrete)} is discrete, and the posterior of a target "
            f"needs a density. {instead}"
        )


def _call(name: str, function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    try:
        return function(**values)
    except Exception as error:
        raise ModelError(
            f"targets: {name!r} should be a function of one draw of the latents {quoted(values)}, "
            f"and it fails ({type(error).__name__}: {str(error)[:200]})"
        ) from error


def _stack(name: str, values: list[Any]) -> np.ndarray:
    try:
        return np.stack([np.asarray(v, np.float32) for v in values])
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"targets: {name!r} should give numbers of the same shape in every draw ({error})"
        ) from error
