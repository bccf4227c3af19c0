"""The contract of every method: init, step, readout, and the score that trains them.

    init(task) -> state;    step(state, batch) -> state;    readout(state) -> distribution

One step over all rows of a dataset is one-shot amortization; K steps over its mini-batches is
iterative amortization. Mittal et al. 2025, "Iterative Amortized Inference", arXiv 2510.11471, Eq. 5:

    min over gamma, phi   E_T  E_{(x, y), D ~ T}   L(y, f_gamma(x, g_phi(D))),   g = step o ... o step o init
"""

from abc import abstractmethod
from typing import Any, ClassVar, Protocol

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.task import Batch, Task

State = Any
"""What a method carries from step to step: any PyTree of arrays of fixed shape."""


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
    """

    task: eqx.AbstractVar[Task]
    regime: ClassVar[str]
    queries: ClassVar[int] = 0

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


class Spec(Protocol):
    """A configured method, not yet built: a frozen dataclass of options that JSON can hold."""

    def schedule(self, task: Task) -> dict[str, Any]:
        """Fields of `amortppl.train.Schedule` that suit it; what `ap.train` is given wins."""
        ...

    def build(self, task: Task, key: PRNGKeyArray) -> Method:
        """The method for a task, its weights drawn with the key."""
        ...


def split(batch: Batch, steps: int) -> Batch:
    """The rows of one dataset as K mini-batches: leading axis K. Rows must be a multiple of K."""
    return jax.tree.map(lambda a: a.reshape(steps, a.shape[0] // steps, *a.shape[1:]), batch)


def unroll(method: Method, batch: Batch, steps: int) -> State:
    """All K states of a pass over a dataset (leading axis K), each detached from the one before.

    Detaching keeps memory and time of the backward pass flat in K (greedy training).
    """
    if steps == 1:
        return jax.tree.map(lambda a: a[None], method.step(method.init(), batch))

    def advance(state: State, mini: Batch) -> tuple[State, State]:
        after = method.step(jax.lax.stop_gradient(state), mini)
        return after, after

    return jax.lax.scan(advance, method.init(), split(batch, steps))[1]


def final(method: Method, batch: Batch, steps: int = 1) -> State:
    """The state after K steps over a dataset; for K = 1 one step over all rows."""
    if steps == 1:
        return method.step(method.init(), batch)
    return jax.lax.scan(lambda s, b: (method.step(s, b), None), method.init(), split(batch, steps))[0]
