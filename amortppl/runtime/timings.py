"""Where the time goes, by program: tracing, lowering, compiling, loading and running.

JAX reports how long it traces, lowers and compiles through `jax.monitoring`; `Compiled` (see
`amortppl.runtime.compilation`) reports how long its programs run. A nested stage counts for itself
and not for the stage around it.

Leans on the names of JAX's events (JAX 0.12.0.1); tests/runtime/test_timings.py fails where these
change.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache

import jax

EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
}
"""JAX's events, and the stage that each ends."""

RETRIEVED = "/jax/compilation_cache/cache_retrieval_time_sec"
"""Ends the reading of a program from the persistent cache, inside the stage `compiling`."""


@dataclass
class ProgramTimes:
    """Wall-clock seconds of one program, or of several together, by stage.

    Attributes:
        tracing: Python to jaxpr.
        lowering: jaxpr to StableHLO.
        compiling: by XLA.
        loading: from the persistent compilation cache, instead of compiling.
        running: until the results are there. Programs outside `Compiled` do not report it.
        compiled, loaded, calls: how often.
    """

    tracing: float = 0.0
    lowering: float = 0.0
    compiling: float = 0.0
    loading: float = 0.0
    running: float = 0.0
    compiled: int = 0
    loaded: int = 0
    calls: int = 0

    def add(self, other: "ProgramTimes") -> None:
        """Adds the seconds and counts of another."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))

    @property
    def preparing(self) -> float:
        """Seconds of all stages but running."""
        return self.tracing + self.lowering + self.compiling + self.loading


@dataclass
class Timings:
    """The times of programs by name, since `timings` was entered.

    Attributes:
        programs: by name, in the order of their first event.
        seconds: wall-clock seconds between entering and leaving.
    """

    programs: dict[str, ProgramTimes] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def total(self) -> ProgramTimes:
        """All programs together."""
        total = ProgramTimes()
        for times in [*self.programs.values()]:
            total.add(times)
        return total

    def summary(self) -> dict[str, float]:
        """Seconds by stage and programs compiled and loaded, as JSON can hold them."""
        total = {k: round(v, 4) for k, v in vars(self.total).items()}
        return {**total, "seconds": round(self.seconds, 4)}

    def table(self) -> str:
        """A line for each program, the dearest first, and their sum; what `print` shows."""
        rows = sorted(self.programs.items(), key=lambda item: -_cost(item[1]))
        rows.append(("all programs", self.total))
        wide = max(len(name) for name, _ in rows)
        lines = [f"{'program':<{wide}}" + "".join(f"{f.name:>10}" for f in fields(ProgramTimes))]
        for name, times in rows:
            lines.append(f"{name:<{wide}}" + "".join(_cell(n) for n in vars(times).values()))
        return "\n".join([*lines, f"wall clock {self.seconds:.3f} s"])

    def __str__(self) -> str:
        return self.table()

    def note(self, name: str, times: ProgramTimes) -> None:
        """Adds to one program's times."""
        self.programs.setdefault(name, ProgramTimes()).add(times)


def _cost(times: ProgramTimes) -> float:
    return times.preparing + times.running


def _cell(number: float) -> str:
    """Seconds, or how often; blank where there is nothing."""
    if not number:
        return " " * 10
    return f"{number:>10d}" if isinstance(number, int) else f"{number:>10.3f}"


_active: list[Timings] = []


class _Thread(threading.local):
    """Of one thread: spans (begin, seconds) of finished stages, and seconds of a read of the cache.

    A stage reports its end alone; what lies inside it has reported before.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        self.retrieved = 0.0


_thread = _Thread()


@contextmanager
def timings() -> Iterator[Timings]:
    """Records where time goes while it is open, in all threads.

    Example:
        >>> import amortppl as ap
        >>> import jax
        >>> with ap.timings() as spent:
        ...     _ = jax.jit(lambda x: x + 1)(1.0)
        >>> spent.total.compiled
        1
    """
    _listen()
    times, begin = Timings(), time.perf_counter()
    _active.append(times)
    try:
        yield times
    finally:
        # By identity: two recorders that saw the same are equal.
        _active[:] = [each for each in _active if each is not times]
        times.seconds = time.perf_counter() - begin


def recording() -> bool:
    """Whether anything is recorded."""
    return bool(_active)


@contextmanager
def time_run(name: str) -> Iterator[None]:
    """Records a call of a program; what it took to make the program is not counted as running."""
    begin = time.perf_counter()
    yield
    seconds = _own_seconds(begin, time.perf_counter() - begin)
    _note(name, ProgramTimes(running=seconds, calls=1))


def _note(name: str, times: ProgramTimes) -> None:
    for each in _active:
        each.note(name, times)


def _own_seconds(begin: float, seconds: float) -> float:
    """Seconds of a stage without those of stages inside it."""
    spans = _thread.spans
    inside = 0.0
    while spans and spans[-1][0] >= begin:
        inside += spans.pop()[1]
    spans.append((begin, seconds))
    del spans[:-64]
    return max(seconds - inside, 0.0)


@cache
def _listen() -> None:
    """Listens to JAX's events, once in a process."""
    jax.monitoring.register_event_duration_secs_listener(_hear)


def _hear(event: str, seconds: float, **about: str | int) -> None:
    if event == RETRIEVED:
        _thread.retrieved = seconds
    stage = EVENTS.get(event)
    if stage is None:
        return
    own = _own_seconds(time.perf_counter() - seconds, seconds)
    name = _plain_name(str(about.get("fun_name", "")))
    if stage != "compiling":
        _note(name, ProgramTimes(**{stage: own}))
    elif _thread.retrieved:
        _thread.retrieved = 0.0
        _note(name, ProgramTimes(loading=own, loaded=1))
    else:
        _note(name, ProgramTimes(compiling=own, compiled=1))


def _plain_name(name: str) -> str:
    """The function's name, without `jit(...)` around it."""
    return name[4:-1] if name.startswith("jit(") and name.endswith(")") else name
