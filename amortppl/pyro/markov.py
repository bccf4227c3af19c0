"""`pyro.markov` in NumPyro's enumeration, where its contexts let dimensions be used again."""

import sys
from typing import Any

import numpyro.primitives
from pyro.poutine import runtime
from pyro.poutine.markov_messenger import MarkovMessenger

from amortppl.pyro.run import Run


def enumerating() -> bool:
    """Whether NumPyro enumerates discrete latents around this run."""
    funsor = sys.modules.get("numpyro.contrib.funsor.enum_messenger")
    return funsor is not None and any(
        isinstance(h, funsor.enum) for h in numpyro.primitives._PYRO_STACK
    )


def follow(run: Run) -> None:
    """Opens and closes NumPyro's markov contexts until they are as deep as Pyro's are now."""
    if not enumerating():
        return
    from numpyro.contrib.funsor.enum_messenger import LocalNamedMessenger

    wanted = {id(h): h for h in runtime._PYRO_STACK if isinstance(h, MarkovMessenger)}
    while run.markov and (
        id(run.markov[-1][0]) not in wanted
        or _depth(run, run.markov[-1][0]) > wanted[id(run.markov[-1][0])]._pos + 1
    ):
        run.markov.pop()[1].__exit__(None, None, None)
    for theirs in wanted.values():
        ours = next((o for t, o in run.markov if t is theirs), None)
        ours = ours or LocalNamedMessenger(history=theirs.history, keep=theirs.keep)
        while _depth(run, theirs) < theirs._pos + 1:
            ours.__enter__()
            run.markov.append((theirs, ours))


def close(run: Run) -> None:
    """Closes all that are open."""
    while run.markov:
        run.markov.pop()[1].__exit__(None, None, None)


def _depth(run: Run, theirs: Any) -> int:
    return sum(t is theirs for t, _ in run.markov)
