"""States of shards of one dataset: combined, and gathered from many processes."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np

from amortppl.data.sources.identity import FileSeen, refuse_seen
from amortppl.errors import GuideError
from amortppl.method import refuse_parts
from amortppl.posterior.state import State
from amortppl.runtime import distributed


def combine(states: Sequence[State]) -> State:
    """The state of the union of disjoint shards of one dataset.

    Natural parameters add up, B = B_prior + sum_i (B_i - B_prior), and likewise the linear terms.
    What is not Gaussian is carried over approximately.

    Args:
        states: at least one, all of the same guide, each with its own rows.

    Raises:
        GuideError: no state, states of different guides, of the same files or the same rows, of
            rows tied to one another, or a state in the middle of a further pass.

    Example:
        >>> import amortppl as ap
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), steps=2, progress=False)
        >>> shards = [guide.step(guide.init(), {"y": y}) for y in ([0.5, 1.5], [1.0, 2.0, 0.0])]
        >>> ap.combine(shards).rows
        5
    """
    states = list(states)
    _refuse_mixed(states)
    sources: list[FileSeen] = []
    for state in states:
        refuse_seen(sources, state.sources)
        sources += state.sources
    seen = [s for s in states if s.rows]
    if len(seen) < 2:
        return seen[0] if seen else states[0]
    guide = states[0].guide
    refuse_parts(guide.method)
    value = guide.method.combine([s.value for s in seen])
    _refuse_equal(seen)
    rows, steps = sum(s.rows for s in seen), sum(s.steps for s in seen)
    outside = next((s.outside for s in seen if s.outside), ())
    return State(guide, value, rows, steps, outside=outside, sources=tuple(sources))


def _refuse_mixed(states: Sequence[State]) -> None:
    if not states:
        raise GuideError("combine: expected at least one state, got none")
    guide = states[0].guide
    for number, state in enumerate(states):
        if state.guide is not guide and state.guide.identity != guide.identity:
            raise GuideError(
                f"combine: state {number} is of another guide ({state.guide.task.name}, "
                f"{state.guide.identity}) than state 0 ({guide.task.name}, {guide.identity}); "
                f"infer all shards with one guide"
            )
        place = state.place
        if place.passes and not place.done:
            raise GuideError(
                f"combine: state {number} stopped after {place.rows} rows of pass "
                f"{place.passes + 1} over {place.source}; finish it first"
            )


def _refuse_equal(states: Sequence[State]) -> None:
    """Refuses two states that are the same in every number: their rows would count twice."""
    seen: dict[bytes, int] = {}
    for number, state in enumerate(states):
        content = b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(state.value))
        if content in seen:
            raise GuideError(
                f"combine: states {seen[content]} and {number} are equal, so they have seen the "
                f"same rows, which would count twice; give each shard its own rows"
            )
        seen[content] = number


def all_gather(state: State) -> list[State]:
    """The states of all processes under `jax.distributed`, in the order of the processes.

    A collective: every process must call it, each with the state of its own shard. A single process
    gets its own state back.

    Example:
        >>> import amortppl as ap
        >>> guide = ap.train(ap.model("gaussian_mean"), "laplace", progress=False)
        >>> state = guide.step(guide.init(), {"y": [0.5, 1.5, 1.0]})
        >>> [each.rows for each in ap.all_gather(state)]
        [3]
    """
    fields = {"value": state.value, "rows": state.rows, "steps": state.steps}
    gathered = distributed.all_gather(fields)
    each = [jax.tree.map(lambda a, i=i: a[i], gathered) for i in range(jax.process_count())]
    return [
        replace(state, value=e["value"], rows=int(e["rows"]), steps=int(e["steps"]), trace=())
        for e in each
    ]
