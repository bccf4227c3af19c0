"""`pyro.markov` in NumPyro's enumeration, where its contexts let dimensions be used again."""

from typing import Any

from pyro.poutine import runtime
from pyro.poutine.markov_messenger import MarkovMessenger

from amortppl.pyro.run import Run
from amortppl.runtime.numpyro_enumeration import is_enumerating, markov_context


def follow(run: Run) -> None:
    """Opens and closes NumPyro's markov contexts until they are as deep as Pyro's are now."""
    if not is_enumerating():
        return
    wanted = {id(h): h for h in runtime._PYRO_STACK if isinstance(h, MarkovMessenger)}
    while run.markov and (
        id(run.markov[-1][0]) not in wanted
        or _depth(run, run.markov[-1][0]) > wanted[id(run.markov[-1][0])]._pos + 1
    ):
        run.markov.pop()[1].__exit__(None, None, None)
    for theirs in wanted.values():
        ours = next((o for t, o in run.markov if t is theirs), None)
        ours = ours or markov_context(theirs.history, theirs.keep)
        while _depth(run, theirs) < theirs._pos + 1:
            ours.__enter__()
            run.markov.append((theirs, ours))


def close(run: Run) -> None:
    """Closes all that are open."""
    while run.markov:
        run.markov.pop()[1].__exit__(None, None, None)


def _depth(run: Run, theirs: Any) -> int:
    """How often a context of Pyro's was entered by its counterpart."""
    return sum(t is theirs for t, _ in run.markov)
