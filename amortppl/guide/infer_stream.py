"""The posterior of a state as a DataTree: draws, the trace of a stream, and on request its
check.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from amortppl.data.batches import Batches
from amortppl.data.dataset import Dataset
from amortppl.errors import DataError
from amortppl.guide.options import Streaming
from amortppl.guide.trees import state_tree
from amortppl.method import Method
from amortppl.posterior.draws import constrain
from amortppl.posterior.state import State, expect_own_guide
from amortppl.posterior.stream import stream
from amortppl.posterior.stream_likelihood import Likelihood
from amortppl.runtime.compilation import jit_unoptimized
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.training.trained import TrainedMethod
from amortppl.trust import psis
from amortppl.trust.stream_parity import StreamParity

if TYPE_CHECKING:
    import xarray


TRACED = 1000
"""Draws for a posterior mean and sd along the way: the mean's error is 3% of an sd."""

CHECKED = 500_000_000
"""Draws times rows up to which k-hat is computed without being asked for."""

MOVED = 0.3
"""Sds by which a further pass may move the mean without a note."""

SURPRISING = 1.5
"""Mean surprise of mini-batches above which a note says so; about 1 when the rows are as the model
expects.
"""


def infer_stream(
    guide: TrainedMethod, data: Batches | State, draws: int, seed: int, options: Streaming
) -> "xarray.DataTree":
    """Posterior of a stream of mini-batches, or of a state; see `Guide.infer`."""
    if draws < 1:
        raise DataError(f"draws: expected at least 1, got {draws}")
    if isinstance(data, State):
        expect_own_guide(guide, data)
        drawn = _draw(guide, data, draws, seed)
        return state_tree(guide, data, *drawn, notes=_notes(data), seed=seed)
    final, trace = _last_state(guide, data, draws, seed, options)
    drawn = _draw(guide, final, draws, seed)
    small = data.rows is not None and draws * data.rows <= CHECKED
    wanted = (small if options.check is None else options.check) and not guide.task.grouping
    parity = StreamParity(guide.task, drawn[0], final.lead)
    checked = (
        _check(guide, data, *drawn, parity, final.lead)
        if wanted and options.state is None
        else None
    )
    moved = None if checked is None else psis.moment_shifts([drawn[0]], checked)
    if checked is None or moved is None:
        more = [_why_unchecked(guide, options.state)]
    else:
        labels, remedy = guide.task.latents.labels(), f"passes={options.passes + 1}"
        [more] = psis.misleading_notes(checked, moved, labels, remedy)
        more = more + parity.notes()
    notes = _notes(final) + more
    return state_tree(
        guide, final, *drawn, check=checked, moved=moved, parity=parity.result, trace=trace,
        notes=notes, seed=seed,
    )  # fmt: skip


def _last_state(
    guide: TrainedMethod, data: Batches, draws: int, seed: int, options: Streaming
) -> tuple[State, list[dict[str, Any]]]:
    """The state after all mini-batches, and the trace of means and sds that was asked for."""
    state = options.state or State(guide, guide.method.init())
    trace = list(state.trace)
    every = options.every or np.iinfo(np.int64).max
    way = {"passes": options.passes, "every": every, "keep": options.keep}

    def compile_readout(value: Any) -> None:
        _sample.compile_ahead(guide.method, value, seed_key(seed), draws)

    states = stream(guide, data, state, **way, progress=options.progress, begun=compile_readout)
    for state in states:
        if options.every is not None:
            trace.append({"rows": state.rows, **moments(guide, state)})
    return state, trace


def _draw(
    guide: TrainedMethod, state: State, draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Unconstrained draws (S, P) and their log densities (S,)."""
    vectors, log_guide = _sample(guide.method, state.value, seed_key(seed), draws)
    return np.asarray(vectors), np.asarray(log_guide)


@jit_unoptimized
def _sample(method: Method, value: Any, key: Array, draws: int) -> tuple[Array, Array]:
    return method.readout(value).sample(key, draws)


@jit_unoptimized
def _log_prior(task: AbstractTask, vectors: Array) -> Array:
    return jax.vmap(task.log_prior)(vectors)


def _check(
    guide: TrainedMethod,
    batches: Batches,
    vectors: np.ndarray,
    log_guide: np.ndarray,
    parity: StreamParity,
    lead: int,
) -> psis.Check | None:
    """PSIS of the draws against the log joint, up to a constant: reads the source once more."""
    if not guide.task.has_density:
        return None
    prior = np.asarray(_log_prior(guide.task, vectors))
    likelihood = Likelihood(guide, jnp.asarray(vectors), lead)
    total = likelihood.over(batches, parity.add)
    joint = total + prior
    compared = likelihood.early if guide.task.ordered else None
    of_early = joint if compared is None else compared + prior
    parity.judge(of_early - of_early[0])
    return psis.check(joint[None], log_guide[None])


def _why_unchecked(guide: TrainedMethod, state: State | None) -> str:
    if not guide.task.has_density:
        return "k-hat not computed: the model has no likelihood to check the guide against"
    if guide.task.grouping:
        return "k-hat not computed: of streams of groups it is not known"
    if state is not None:
        return "k-hat not computed: rows seen before this source would have to be read again"
    return "k-hat not computed: it reads all rows once more; ask for it with check=True (--check)"


def _notes(state: State) -> list[str]:
    """What the mini-batches said of themselves on the way."""
    notes, value = list(state.outside), state.guide.method.finalize(state.value)
    surprise, moved = (float(getattr(value, n, np.nan)) for n in ("surprise", "moved"))
    if state.steps >= 4 and surprise > SURPRISING:
        notes.append(
            f"mini-batches surprised the posterior {surprise:.3g} times as much as the model "
            f"expects: the rows "
            "are in an order that matters (shuffle them), or the model does not fit"
        )
    if moved > MOVED:
        notes.append(
            f"the last pass moved the posterior by {moved:.2g} sds: an earlier one had gone "
            f"astray; ask for more "
            f"passes, or shuffle the rows"
        )
    return notes


def moments(guide: TrainedMethod, state: State) -> dict[str, Any]:
    """Posterior mean and sd of every latent at a state, as nested lists (JSON can hold them)."""
    values = constrain(
        guide.method, _draw(guide, state, TRACED, 0)[0], Dataset(guide.blank.data, {})
    )
    latents = {n: v for n, v in values.items() if n in guide.task.latents.names}
    return {
        "mean": {n: v.mean(0).tolist() for n, v in latents.items()},
        "sd": {n: v.std(0).tolist() for n, v in latents.items()},
    }
