"""Runs a Python simulator on draws from a prior, in worker processes, until there are enough."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import joblib
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError

from amortppl.errors import ModelError
from amortppl.runtime.progress import Progress
from amortppl.simulators.identity import describe_simulator, digest
from amortppl.simulators.prior import BLOCK, Prior
from amortppl.simulators.sending import send
from amortppl.simulators.store import Store, too_many
from amortppl.simulators.worker import Call, Chunk, simulate_chunk, simulate_sent

CHUNK_SECONDS, CHUNK = 0.5, 1024
"""A worker gets draws for about so long, and at most so many, at a time."""

MISSHAPEN = 10, 0.1
"""So many outputs of another shape, and so large a share, and the simulator has none."""


def run_simulations(
    call: Call,
    prior: Prior,
    total: int,
    rows: int | None,
    path: str | Path | None,
    workers: int | None,
    seed: int,
    shown: bool,
) -> Store:
    """Simulations 0 to `total` - 1, of which those that are in the folder are not made again.

    Simulation i is a function of the seed and of i, whatever the number of workers.

    Args:
        call: the simulator.
        prior: draws the latents.
        total: how many simulations.
        rows: rows of each, for a simulator that takes their number.
        path: the folder that keeps them; None for memory.
        workers: processes; None for as many as there are cores. With one, this process simulates.
        seed: of the simulations.
        shown: whether to report progress.

    Raises:
        ModelError: nearly all of the first simulations fail, a worker process dies, or the folder
            holds other simulations. Those made so far are kept.
    """
    identity = {
        "seed": seed,
        "rows": rows,
        "prior": digest(repr({n: v[:4].tolist() for n, v in prior.block(seed, 0).items()})),
        "simulator": digest(describe_simulator(call.simulator)),
    }
    store = Store(path, {n: s.shape for n, s in prior.sites.items()}, identity)
    asked = [i for i in range(total) if i not in store.numbers]
    if not asked:
        return store
    processes = min(workers or joblib.cpu_count(), len(asked))
    queue = _Queue(call, prior, rows, seed, asked)
    title = f"simulating in {processes} process{'es' if processes > 1 else ''}"
    with Progress("simulation", total, title, shown, "starting") as report:
        try:
            for chunk in _chunks(queue, processes):
                queue.pace = chunk.seconds / len(chunk.numbers)
                store.add(chunk.numbers, queue.values(chunk.numbers), chunk.outcomes)
                _refuse_failing(store)
                failed = sum(store.failures.values())
                report.update(len(store.numbers), f"{failed} failed" if failed else "")
        except TerminatedWorkerError as error:
            raise ModelError(
                f"simulator: a worker process died after {len(store.numbers)} simulations, which "
                f"{'are kept' if path else 'are lost, as no `path` was given'}. The simulator may "
                "have crashed (in compiled code) or the memory may be short; call it in this "
                "process with workers=1 to see"
            ) from error
        finally:
            store.flush()
    if store.shapes is None:
        raise ModelError(f"simulator: all {total} simulations failed: {tell_failures(store)}")
    return store


class _Queue:
    """Pieces of work, each as long as the draws so far say."""

    def __init__(
        self, call: Call, prior: Prior, rows: int | None, seed: int, asked: list[int]
    ) -> None:
        self.call, self.rows, self.seed, self.asked = call, rows, seed, asked
        self.pace: float | None = None
        self.block = lru_cache(64)(lambda number: prior.block(seed, number))

    def values(self, numbers: Iterable[int]) -> dict[str, np.ndarray]:
        """Latents of these simulations, by name."""
        places = [divmod(i, BLOCK) for i in numbers]
        names = self.block(places[0][0]).keys()
        return {n: np.stack([self.block(b)[n][i] for b, i in places]) for n in names}

    def __iter__(self) -> Iterator[tuple]:
        start = 0
        while start < len(self.asked):
            size = 1 if self.pace is None else int(CHUNK_SECONDS / max(self.pace, 1e-9))
            numbers = self.asked[start : start + min(max(size, 1), CHUNK)]
            start += len(numbers)
            entropy = [(self.seed % 2**64, i) for i in numbers]
            yield self.values(numbers), self.rows, entropy, numbers


def _chunks(queue: _Queue, processes: int) -> Iterator[Chunk]:
    """Outcomes as they come, in any order."""
    if processes == 1:
        yield from (simulate_chunk(queue.call, *work) for work in queue)
        return
    sent = send(queue.call)
    pool = joblib.Parallel(processes, return_as="generator_unordered", batch_size=1)
    yield from pool(joblib.delayed(simulate_sent)(sent, *work) for work in queue)


def _refuse_failing(store: Store) -> None:
    made, failed = len(store.numbers), sum(store.failures.values())
    fewest, share = MISSHAPEN
    if store.misshapen >= max(fewest, share * made):
        likely = (
            "Every simulation should give the same names and shapes: let it take the number of "
            "rows as an argument `rows`, or fill up what varies and give the count too"
        )
    elif too_many(failed, made):
        kept = f"; the other {made - failed} are kept, and the next run makes these again"
        likely = f"Try it on one draw of the prior{kept if store.path else ''}"
    else:
        return
    raise ModelError(
        f"simulator: {failed} of the first {made} simulations failed: {tell_failures(store)}. "
        f"{likely}"
    )


def tell_failures(store: Store) -> str:
    """How many simulations failed in which way, the most frequent first."""
    told = [f"{count} {words}" for words, count in store.failures.most_common(3)]
    rest = sum(store.failures.values()) - sum(c for _, c in store.failures.most_common(3))
    return "; ".join([*told, *([f"{rest} in other ways"] if rest else [])])
