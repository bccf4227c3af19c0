"""The contract of every method: init, step, readout, and the score that trains them.

    init(task) -> state;    step(state, batch) -> state;    readout(state) -> distribution

One step over all rows of a dataset is one-shot amortization; K steps over its mini-batches is
iterative amortization. Mittal et al. 2025, "Iterative Amortized Inference", arXiv 2510.11471, Eq.
5:

    min over gamma, phi   E_T  E_{(x, y), D ~ T}   L(y, f_gamma(x, g_phi(D))),   g = step o ... o
    step o init
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import GuideError
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

State = Any
"""What a method carries from step to step: a PyTree of arrays. Its structure is fixed after the
first step; `init` may return another, so that a first step can be another program than later
ones."""


class Target(eqx.Module):
    """What a readout is scored on: the latents (unconstrained) and held-out rows of one task."""

    latents: Float[Array, " P"]
    query: dict[str, Array]


class Method(eqx.Module):
    """A method built for a task. Written for one dataset; the engine batches with `vmap`.

    Attributes:
        task: the task it was built for.
        regime: `parametric`, `implicit` or `explicit`.
        queries: how many held-out rows a target needs for `score` (0 for none).
        predicts: whether the readout is a distribution over y at a query, not over the latents.
        revision: raised whenever the same weights come to mean another answer, so that guides
            trained before are refused instead of answering unchecked.
    """

    task: eqx.AbstractVar[AbstractTask]
    regime: ClassVar[str]
    queries: ClassVar[int] = 0
    predicts: ClassVar[bool] = False
    revision: ClassVar[int] = 0

    @abstractmethod
    def init(self) -> State:
        """The state before any row was seen."""

    @abstractmethod
    def step(self, state: State, batch: Batch) -> State:
        """The state after one more mini-batch."""

    @abstractmethod
    def readout(self, state: State) -> Any:
        """A distribution: over the latents' unconstrained vector, or over y at a query."""

    @abstractmethod
    def score(self, state: State, target: Target) -> Array:
        """The loss L of one state, in nats; differentiable in the weights."""

    # What a method may offer beyond the contract.

    @property
    def max_batch(self) -> int | None:
        """How many datasets of a batch to take at once, where a step's work ends with their rows
        and not with the
        padding; None for all."""
        return None

    def summary(self, state: State) -> Array:
        """What it sees of a dataset, as a vector; datasets unlike the simulated ones lie far out.
        None by default.
        """
        return jnp.zeros(0)

    def refine(self, batch: Batch) -> Any:
        """A readout for which more was computed than `step` does, where the method knows how."""
        raise GuideError(f"{type(self).__name__}: this method has no refinement steps")

    def finalize(self, state: State) -> State:
        """The state with whatever is under way brought to an end."""
        return state

    def start_pass(self, state: State, since: State) -> State:
        """A state that meets again the rows seen after `since`, without counting them twice."""
        raise GuideError(
            f"{type(self).__name__}: this method sees every row once; ask for passes=1"
        )

    def combine(self, states: Sequence[State]) -> State:
        """The state of the union of disjoint rows."""
        raise GuideError(
            f"{type(self).__name__}: the states of this method do not combine; infer all rows with "
            f"one"
        )


class Spec(Protocol):
    """A configured method, not yet built: a frozen dataclass of options that JSON can hold."""

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Fields of `amortppl.training.trainer.Schedule` that suit it; what `ap.train` is given
        wins.
        """
        ...

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> Method:
        """The method for a task, its weights drawn with the key."""
        ...


def split(batch: Batch, steps: int) -> Batch:
    """The rows of one dataset as K mini-batches: leading axis K. Rows must be a multiple of K."""
    return jax.tree.map(lambda a: a.reshape(steps, a.shape[0] // steps, *a.shape[1:]), batch)


def random_mini_batches(batch: Batch, steps: int) -> Batch:
    """The rows of one dataset as K mini-batches of random sizes: leading axis K, each of all rows,
    masked.

    Half of all datasets are one mini-batch, the rest empty; of the others the places of the cuts
    are log-uniform. The cuts are drawn with a key made from the data, the same whenever they come
    again.
    """
    count = jnp.sum(batch.mask)
    bits = [
        jax.lax.bitcast_convert_type(a.astype(jnp.float32), jnp.uint32)
        for a in jax.tree.leaves(batch.data)
    ]
    key = jr.fold_in(
        jr.key(0), sum(jnp.sum(b) for b in bits)
    )  # of whole numbers, the same in any order
    level = jnp.sort(jr.uniform(key, (steps - 1,)))
    cuts = jnp.ceil(jnp.maximum(count, 1) ** level).astype(int)
    cuts = jnp.where(jr.bernoulli(jr.fold_in(key, 1)), count, cuts)
    starts, stops = jnp.append(0, cuts), jnp.append(cuts, batch.mask.shape[0])
    place = jnp.arange(batch.mask.shape[0])
    masks = batch.mask & (place >= starts[:, None]) & (place < stops[:, None])
    return Batch({n: jnp.broadcast_to(v, (steps, *v.shape)) for n, v in batch.data.items()}, masks)


def unroll(method: Method, minis: Batch) -> State:
    """The states after each of K mini-batches (leading axis K), each detached from the one before.

    Detaching keeps memory and time of the backward pass flat in K (greedy training).
    """

    def advance(state: State, mini: Batch) -> tuple[State, State]:
        after = method.step(jax.lax.stop_gradient(state), mini)
        return after, after

    first, rest = _first_step(method, minis)
    if minis.mask.shape[0] == 1:
        return jax.tree.map(lambda a: a[None], first)
    later = jax.lax.scan(advance, first, rest)[1]
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)


def final(method: Method, batch: Batch, steps: int = 1) -> State:
    """The state after K equal steps over a dataset; for K = 1 one step over all rows."""
    first, rest = _first_step(method, split(batch, steps))
    return (
        first
        if steps == 1
        else jax.lax.scan(lambda s, b: (method.step(s, b), None), first, rest)[0]
    )


def _first_step(method: Method, minis: Batch) -> tuple[State, Batch]:
    """The state after the first mini-batch, and the others."""
    first, rest = (
        jax.tree.map(lambda a, part=part: a[part], minis) for part in (0, slice(1, None))
    )
    return method.step(method.init(), first), rest


def refuse_parts(method: "Method") -> None:
    """Refuses to add up a posterior from parts of tied rows.

    Raises:
        GuideError: the method infers latents, and the rows of its task are tied.
    """
    if method.task.tied and not method.predicts:
        raise GuideError(
            f"{method.task.name}: its rows are tied to one another, so the evidence of "
            f"mini-batches does not add up; "
            "infer all rows at once (and train with mini_batches=1), or train 'in_context' or "
            "'neural_process' to "
            "predict from mini-batches"
        )
