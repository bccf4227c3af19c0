"""How far the inference of one dataset has come: kept, combined, saved, continued."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from amortppl.errors import GuideError
from amortppl.method import refuse_parts
from amortppl.posterior.draws import readout
from amortppl.runtime import distributed
from amortppl.runtime.files import pack, unpack, write
from amortppl.training.trained import TrainedMethod


@dataclass(frozen=True)
class Place:
    """Where in a source a pass stands.

    Attributes:
        source: what the source calls itself.
        passes: how many passes over it are complete.
        rows: rows of the present pass that are done.
        block: rows in a block, so that a continued run reads the same blocks.
        done: whether all passes that were asked for are complete.
    """

    source: str
    passes: int
    rows: int
    block: int
    done: bool


BY_HAND = Place("steps by hand", 0, 0, 1, True)
"""The place of a state that no stream made."""


@dataclass(frozen=True)
class State:
    """The state of a guide on one dataset: what `step` takes and gives.

    Attributes:
        guide: the guide it belongs to.
        value: what the method carries, a PyTree of arrays.
        rows: rows seen, each counted once however often it was met.
        steps: mini-batches taken.
        since: the value before the rows of the present source, which a further pass leaves as it
            is.
        place: where in a source it stands.
        trace: rows seen, and posterior means and sds then, where they were asked for.
        outside: what of the rows streamed lies outside the ranges that the guide was trained on.
    """

    guide: TrainedMethod
    value: Any
    rows: int = 0
    steps: int = 0
    since: Any = None
    place: Place = BY_HAND
    trace: tuple[dict[str, Any], ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def posterior(self) -> Any:
        """The distribution over the latents' unconstrained vector."""
        return readout(self.guide.method, self.value)

    def save(self, path: str | Path) -> Path:
        """Writes it to a file under a temporary name, then moves it into place.

        Raises:
            OSError: the file cannot be written; an older one there is left as it was.
        """
        arrays = {"value": self.value, "since": self.since}
        kinds = {n: [type(part).__name__ for part in _parts(v)] for n, v in arrays.items()}
        about = {
            "guide": self.guide.hash,
            "rows": self.rows,
            "steps": self.steps,
            "place": vars(self.place),
        }
        write(
            path,
            pack(
                arrays,
                {**about, "kinds": kinds, "trace": list(self.trace), "outside": list(self.outside)},
            ),
        )
        return Path(path)


def _parts(value: Any) -> list[Any]:
    """A value and, where it is a further pass, what that began with: their types tell its
    structure.
    """
    return (
        [] if value is None else [value, *(_parts(value.since) if hasattr(value, "since") else [])]
    )


def load_state(guide: TrainedMethod, path: str | Path) -> State:
    """Reads a state back.

    Raises:
        GuideError: no such file, cut short, or of another guide.
    """
    path = Path(path)
    if not path.is_file():
        raise GuideError(
            f"{path}: expected a state's file, found {'a folder' if path.exists() else 'nothing'}"
        )
    try:
        _, about = unpack(path, None)
        if about.get("guide") != guide.hash:
            raise GuideError(
                f"{path}: the state of another guide (its hash is {about.get('guide')}, this "
                f"guide's is "
                f"{guide.hash}). Continue with the guide that made it, or start a new state"
            )
        like = {n: _like(guide, kinds) for n, kinds in about["kinds"].items()}
        arrays, _ = unpack(path, like)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise GuideError(
            f"{path}: not a complete state ({error}); was it cut short? Start a new one"
        ) from error
    place = Place(**about["place"])
    said = (tuple(about[n]) for n in ("trace", "outside"))
    return State(
        guide, arrays["value"], about["rows"], about["steps"], arrays["since"], place, *said
    )


def _like(guide: TrainedMethod, kinds: list[str]) -> Any:
    """Arrays of the shapes that a value of these types has."""
    if not kinds:
        return None
    start = guide.method.init()
    known = {type(start).__name__: start}
    stepped = jax.eval_shape(guide.method.step, start, guide.blank)
    known.setdefault(type(stepped).__name__, stepped)
    if kinds[0] in known:
        return known[kinds[0]]
    return jax.eval_shape(guide.method.start_pass, stepped, known[kinds[1]])


def combine(states: Sequence[State]) -> State:
    """The state of the union of disjoint shards of one dataset.

    Evidence adds up, B = B_prior + sum_i (B_i - B_prior), and likewise the linear terms; what is
    not Gaussian is carried over approximately.

    Args:
        states: at least one, all of the same guide, each with its own rows.

    Raises:
        GuideError: no state, states of different guides or of rows tied to one another, or a state
            in the middle of a further pass.
    """
    states = list(states)
    if not states:
        raise GuideError("combine: expected at least one state, got none")
    guide = states[0].guide
    for number, state in enumerate(states):
        if state.guide is not guide and state.guide.hash != guide.hash:
            raise GuideError(
                f"combine: state {number} is of another guide ({state.guide.task.name}, hash "
                f"{state.guide.hash}) than state 0 ({guide.task.name}, hash {guide.hash}); "
                f"infer all shards with one guide"
            )
        if state.place.passes and not state.place.done:
            raise GuideError(
                f"combine: state {number} stopped after {state.place.rows} rows of pass "
                f"{state.place.passes + 1} over "
                f"{state.place.source}; finish it first"
            )
    seen = [s for s in states if s.rows]
    if len(seen) < 2:
        return seen[0] if seen else states[0]
    refuse_parts(guide.method)
    value = guide.method.combine([s.value for s in seen])
    outside = next((s.outside for s in seen if s.outside), ())
    return State(
        guide, value, sum(s.rows for s in seen), sum(s.steps for s in seen), outside=outside
    )


def all_gather(state: State) -> list[State]:
    """The states of all processes under `jax.distributed`, in the order of the processes; a
    collective.

    Every process must call it, each with the state of its own shard; alone, a process gets its own
    back.
    """

    held = {"value": state.value, "rows": state.rows, "steps": state.steps}
    many = distributed.all_gather(held)
    return [
        replace(
            state, value=each["value"], rows=int(each["rows"]), steps=int(each["steps"]), trace=()
        )
        for each in (jax.tree.map(lambda a, i=i: a[i], many) for i in range(jax.process_count()))
    ]
