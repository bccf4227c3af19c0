"""The state of a guide on one dataset: saved and loaded."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from amortppl.data.sources.identity import FileSeen
from amortppl.data.stamps import restored, written
from amortppl.errors import GuideError
from amortppl.gaussian.state import RENAMED
from amortppl.method import begin
from amortppl.posterior.draws import readout
from amortppl.runtime.files import pack, unpack, write
from amortppl.runtime.json_kinds import fields as json_fields
from amortppl.runtime.json_kinds import many, named, one_of, text, whole
from amortppl.runtime.outputs import expect_kept
from amortppl.training.trained import TrainedMethod

STATE = json_fields(
    {
        "guide": text,
        "rows": whole(0),
        "steps": whole(0),
        "place": json_fields(
            {
                "source": text,
                **{n: whole(0) for n in ("passes", "rows")},
                "block": whole(1),
                "done": one_of(True, False),
            }
        ),
        "kinds": named(many(text)),
        "trace": many(
            json_fields(
                {"rows": whole(0), "mean": named(lambda *_: None), "sd": named(lambda *_: None)}
            )
        ),
        "outside": many(text),
    },
    {
        "sources": many(
            json_fields({"name": text, "size": whole(0), "head": text, "tail": text, "share": text})
        ),
        "lead": whole(0),
        "before": lambda *_: None,
        "stamp": lambda *_: None,
    },
)
"""What is told beside the arrays of a state's file."""


@dataclass(frozen=True)
class Place:
    """Where in a source a pass stands.

    Attributes:
        source: the source's name.
        passes: how many passes over it are complete.
        rows: rows of the present pass that are done.
        block: rows in a block, so that a continued run reads the same blocks.
        done: whether all requested passes are complete.
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
    """The state of a guide on one dataset, which `Guide.step` takes and returns.

    Attributes:
        guide: the guide it belongs to.
        value: what the method carries, a PyTree of arrays.
        rows: rows seen, each counted once, also after several passes.
        steps: mini-batches taken.
        since: the value before the rows of the present source; a further pass starts from it.
        place: where in a source it stands.
        trace: numbers of rows, with posterior means and sds at that point, if requested.
        outside: notes on rows outside the ranges that the guide was trained on.
        sources: the files of which it has seen all rows.
        lead: L, of a series: the rows that a mini-batch looks back at
            (`amortppl.posterior.series_stream`).
        before: of a series, its last L rows, by argument.
        stamp: of a series, the time stamp of its last row, if it has one.

    Example:
        >>> import amortppl as ap
        >>> guide = ap.train(ap.model("gaussian_mean"), "laplace", progress=False)
        >>> state = guide.step(guide.init(), {"y": [0.5, 1.5, 1.0]})
        >>> state.rows, state.steps
        (3, 1)
        >>> round(float(state.posterior.log_prob(jax.numpy.array([0.75]))), 1)  # N(0.75, 1 / 4)
        -0.2
        >>> state.save("my.state")  # doctest: +SKIP
    """

    guide: TrainedMethod
    value: Any
    rows: int = 0
    steps: int = 0
    since: Any = None
    place: Place = BY_HAND
    trace: tuple[dict[str, Any], ...] = ()
    outside: tuple[str, ...] = ()
    sources: tuple[FileSeen, ...] = ()
    lead: int = 0
    before: dict[str, np.ndarray] | None = None
    stamp: Any = None

    @property
    def posterior(self) -> Any:
        """The distribution over the latents' unconstrained vector."""
        return readout(self.guide.method, self.value)

    def save(self, path: str | Path) -> Path:
        """Writes the state to a file, in one move.

        Raises:
            OSError: the file cannot be written, or holds other than a state; an older one there is
                left as it was.
        """
        expect_kept(path, "kinds")
        arrays = {"value": self.value, "since": self.since}
        kinds = {n: [type(part).__name__ for part in _parts(v)] for n, v in arrays.items()}
        if self.before is not None:
            arrays["before"] = self.before
        about = {
            "guide": self.guide.identity,
            "rows": self.rows,
            "steps": self.steps,
            "place": vars(self.place),
            "queries": _query_count(self.value),
            "kinds": kinds,
            "trace": list(self.trace),
            "outside": list(self.outside),
            "lead": self.lead,
            "before": None if self.before is None else len(next(iter(self.before.values()))),
            "sources": [asdict(s) for s in self.sources],
            "stamp": written(self.stamp),
        }
        write(path, pack(arrays, about))
        return Path(path)


def _parts(value: Any) -> list[Any]:
    """A value and, of a further pass, what that began with: their types tell the structure."""
    if value is None:
        return []
    return [value, *(_parts(value.since) if hasattr(value, "since") else [])]


def _query_count(value: Any) -> int | None:
    """How many queries a value belongs to; None where it serves any."""
    kept = getattr(value, "queries", None)
    return None if kept is None else len(next(iter(kept.values())))


def expect_own_guide(guide: TrainedMethod, state: State) -> None:
    """Refuses a state that another guide made: its numbers mean something else.

    Raises:
        GuideError: it is of another model, method or weights.
    """
    if state.guide is not guide and state.guide.identity != guide.identity:
        theirs, ours = state.guide, guide
        raise GuideError(
            f"state: it is of another guide ({type(theirs.method).__name__} for "
            f"{theirs.task.name}) than this one ({type(ours.method).__name__} for "
            f"{ours.task.name}); ask the guide that made it, or start a new state with guide.init()"
        )


def load_state(guide: TrainedMethod, path: str | Path) -> State:
    """Reads a state that `State.save` wrote.

    Raises:
        GuideError: no such file, cut short, or of another guide.
    """
    path = Path(path)
    try:
        kind = "a file" if path.is_file() else "a folder" if path.exists() else "nothing"
    except OSError as error:
        raise GuideError(f"{str(path)[:80]!r} cannot be a path ({error.strerror})") from error
    if kind != "a file":
        raise GuideError(f"{path}: expected a state's file, found {kind}")
    try:
        _, about = unpack(path, None)
        STATE(about, str(path))
        # of earlier versions the hash alone
        if about["guide"] not in (guide.identity, guide.hash):
            raise GuideError(
                f"{path}: the state of another guide or model (it is of {about['guide']}, this "
                f"guide is {guide.identity}). Continue with the guide that made it, or start a new "
                "state"
            )
        like = {n: _like(guide, kinds, about.get("queries")) for n, kinds in about["kinds"].items()}
        if about.get("before") is not None:
            rows = guide.task.rows_like.items()
            like["before"] = {
                n: np.zeros((about["before"], *s.shape[1:]), s.dtype) for n, s in rows
            }
        arrays, _ = unpack(path, like, RENAMED)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise GuideError(
            f"{path}: not a complete state ({error}); was it cut short? Start a new one"
        ) from error
    return State(
        guide,
        arrays["value"],
        about["rows"],
        about["steps"],
        arrays["since"],
        Place(**{f.name: about["place"][f.name] for f in fields(Place)}),
        tuple(about["trace"]),
        tuple(about["outside"]),
        tuple(FileSeen(**s) for s in about.get("sources", ())),
        about.get("lead", 0),
        arrays.get("before"),
        restored(about.get("stamp")),
    )


def _like(guide: TrainedMethod, kinds: list[str], queries: int | None) -> Any:
    """Arrays with the shapes of a value whose parts have these types."""
    if not kinds:
        return None
    rows_like = guide.task.rows_like.items()
    blank = {n: np.zeros((queries or 0, *s.shape[1:]), s.dtype) for n, s in rows_like}
    start = begin(guide.method, blank)
    by_kind = {type(start).__name__: start}
    stepped = jax.eval_shape(guide.method.step, start, guide.blank)
    by_kind.setdefault(type(stepped).__name__, stepped)
    if kinds[0] in by_kind:
        return by_kind[kinds[0]]
    return jax.eval_shape(guide.method.start_pass, stepped, by_kind[kinds[1]])
