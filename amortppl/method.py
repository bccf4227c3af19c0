"""The contract of every method: init, step, readout, and the score that trains them.

    init(task) -> state;    step(state, batch) -> state;    readout(state) -> distribution

One step over all rows of a dataset is one-shot amortization. K steps over its mini-batches are
iterative amortization. Mittal et al. 2025, "Iterative Amortized Inference", arXiv 2510.11471,
Eq. 5:

    min over gamma, phi   E_T  E_{(x, y), D ~ T}   L(y, f_gamma(x, g_phi(D)))
    g = step o ... o step o init
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import GuideError
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch, split, split_in_order

State = Any
"""What a method carries from step to step: a PyTree of arrays.

Its structure is fixed after the first step. `init` may return another structure, so that the first
step can be another program than later ones.
"""


class Target(eqx.Module):
    """What a readout is scored on: the latents (unconstrained) and held-out rows of one task.

    >>> Target(jnp.zeros(2), {}).latents.shape
    (2,)
    """

    latents: Float[Array, " P"]
    query: dict[str, Array]
    seen: Batch | None = None


class Method(eqx.Module):
    """A method built for a task. Written for one dataset; the engine batches with `vmap`.

    >>> class CountRows(Method):
    ...     task: Any = None
    ...
    ...     def init(self):
    ...         return jnp.zeros(())
    ...
    ...     def step(self, state, batch):
    ...         return state + jnp.sum(batch.mask)
    ...
    ...     def readout(self, state):
    ...         return state
    ...
    ...     def score(self, state, target):
    ...         return state
    >>> batch = Batch({"y": jnp.arange(4.0)}, jnp.ones(4, bool))
    >>> float(final(CountRows(), batch, steps=2))
    4.0

    Attributes:
        task: the task it was built for.
        regime: `parametric`, `implicit` or `explicit`.
        queries: how many held-out rows a target needs for `score` (0 for none).
        predicts: whether the readout is a distribution over y at a query, not over the latents.
        queries_first: whether a state belongs to queries: then `init` takes their inputs (none: a
            state of no query), the state keeps them in its field `queries`, and the readout is at
            these.
        quick: whether a posterior's draws cost no search, so that those of a thousand simulated
            datasets can be had for the checks.
        revision: raised whenever the same weights come to mean another answer, so that guides
            trained before are refused instead of answering unchecked.
        learns_density: whether the score is -log q(theta | D) of a readout that can be drawn from.
        runs_once: whether nothing is trained, so that a program answers few lists of datasets and
            should be compiled quickly.
        opening: rows of a stream's first step, at least; more than one where a step begins with a
            search that a handful of rows would lead astray.
    """

    task: eqx.AbstractVar[AbstractTask]
    regime: ClassVar[str]
    queries: ClassVar[int] = 0
    predicts: ClassVar[bool] = False
    queries_first: ClassVar[bool] = False
    quick: ClassVar[bool] = True
    revision: ClassVar[int] = 0
    learns_density: ClassVar[bool] = False
    runs_once: ClassVar[bool] = False
    opening: ClassVar[int] = 1

    @abstractmethod
    def init(self) -> State:
        """The state before any row."""

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

    def learn(self, state: State, batch: Batch, key: PRNGKeyArray) -> State:
        """The step as greedy training takes it, where what is random helps to learn."""
        return self.step(state, batch)

    def learn_scored(
        self, state: State, batch: Batch, target: Target, key: PRNGKeyArray
    ) -> tuple[Array, State]:
        """The loss of a step of greedy training, and the state after it.

        A method whose pass over the rows serves mini-batches of several sizes at once takes the
        mean of their losses.
        """
        after = self.learn(state, batch, key)
        return self.score(after, target), after

    @property
    def keeps_start(self) -> bool:
        """Whether it is an answer without training, behind which training must not fall: the
        weights of the start are kept where what was learned is no better on held-out tasks.
        """
        return False

    @property
    def starts(self) -> "tuple[Method, ...]":
        """Weights that greedy training may begin from, the likeliest first: it takes the best on
        held-out tasks.
        """
        return (self,)

    @property
    def max_batch(self) -> int | None:
        """How many datasets of a batch to take at once; None for all.

        Fewer pay where the work of a step grows with a dataset's rows and not with its padding.
        """
        return None

    def summary(self, state: State) -> Array:
        """A vector of what the method sees of a dataset, empty by default.

        Datasets unlike the simulated ones are recognised by it.
        """
        return jnp.zeros(0)

    def log_weights(self, state: State) -> Array | None:
        """Log weights (N,) of the points that its draws begin at, where it draws from the model's
        own density: k-hat is theirs then, as all draws weigh the same. None elsewhere.
        """
        return None

    def refine(self, batch: Batch) -> Any:
        """A more exact readout than after one `step`, where the method has one.

        Raises:
            GuideError: it has none.
        """
        raise GuideError(f"{type(self).__name__}: this method has no refinement steps")

    def prepare(self, batch: Batch) -> State:
        """The state after one step over all rows, for `recall`; training passes no gradient here.

        Raises:
            GuideError: its steps are learned.
        """
        raise GuideError(f"{type(self).__name__}: a step of this method is learned")

    def recall(self, state: State, batch: Batch) -> State:
        """A state of `prepare` with what depends on the weights computed anew."""
        raise GuideError(f"{type(self).__name__}: a step of this method is learned")

    def finalize(self, state: State) -> State:
        """The state with a pass that is under way finished."""
        return state

    def start_pass(self, state: State, since: State) -> State:
        """The state at the start of a further pass over the rows seen after `since`.

        Rows that are met again do not count twice.

        Raises:
            GuideError: the method sees every row once.
        """
        raise GuideError(
            f"{type(self).__name__}: this method sees every row once; ask for passes=1"
        )

    def combine(self, states: Sequence[State]) -> State:
        """The state of the union of disjoint rows.

        Raises:
            GuideError: the states of this method do not combine.
        """
        raise GuideError(
            f"{type(self).__name__}: the states of this method do not combine; infer all rows "
            "with one"
        )


class Spec(Protocol):
    """A configured method, not yet built: a frozen dataclass of options that JSON can hold.

    >>> import amortppl as ap
    >>> ap.method("laplace", newton=10)
    Laplace(newton=10)
    """

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Fields of `amortppl.training.schedule.Schedule` that suit it; what `ap.train` is given
        wins.
        """
        ...

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> Method:
        """The method for a task, its weights drawn with the key."""
        ...


def begin(method: Method, query: dict[str, Array] | None) -> State:
    """The state before any row was seen, of these queries where states belong to queries.

    Args:
        method: any method.
        query: rows of the queries, of which the inputs are kept; None where no query is needed.
    """
    if not method.queries_first or query is None:
        return method.init()
    inputs = {n: jnp.asarray(query[n]) for n in method.task.inputs}
    return method.init(inputs or {"row": jnp.zeros((next(iter(query.values())).shape[0], 0))})


def unroll(method: Method, minis: Batch, query: dict[str, Array] | None = None) -> State:
    """The states after each of K mini-batches (leading axis K), each detached from the one before.

    Detaching keeps memory and time of the backward pass flat in K (greedy training).

    >>> from types import SimpleNamespace
    >>> count = lambda state, batch: state + jnp.sum(batch.mask)
    >>> method = SimpleNamespace(init=lambda: jnp.zeros(()), step=count, queries_first=False)
    >>> batch = Batch({"y": jnp.arange(4.0)}, jnp.ones(4, bool))
    >>> unroll(method, split(batch, 2)).tolist()
    [2.0, 4.0]
    """

    def advance(state: State, mini: Batch) -> tuple[State, State]:
        after = method.step(jax.lax.stop_gradient(state), mini)
        return after, after

    first, rest = _first_step(method, minis, query)
    if minis.mask.shape[0] == 1:
        return jax.tree.map(lambda a: a[None], first)
    later = jax.lax.scan(advance, first, rest)[1]
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)


def final(
    method: Method, batch: Batch, steps: int = 1, query: dict[str, Array] | None = None
) -> State:
    """The state after K equal steps over a dataset; for K = 1 one step over all rows.

    >>> from types import SimpleNamespace
    >>> count = lambda state, batch: state + jnp.sum(batch.mask)
    >>> method = SimpleNamespace(init=lambda: jnp.zeros(()), step=count, queries_first=False)
    >>> batch = Batch({"y": jnp.arange(4.0)}, jnp.ones(4, bool))
    >>> float(final(method, batch, steps=2))
    4.0
    """
    ordered = getattr(getattr(method, "task", None), "ordered", False)
    cut = split_in_order if ordered and steps > 1 else split
    first, rest = _first_step(method, cut(batch, steps), query)
    return (
        first
        if steps == 1
        else jax.lax.scan(lambda s, b: (method.step(s, b), None), first, rest)[0]
    )


def _first_step(
    method: Method, minis: Batch, query: dict[str, Array] | None
) -> tuple[State, Batch]:
    """The state after the first mini-batch, and the others."""
    first, rest = (
        jax.tree.map(lambda a, part=part: a[part], minis) for part in (0, slice(1, None))
    )
    return method.step(begin(method, query), first), rest


def refuse_parts(method: "Method") -> None:
    """Refuses to add up a posterior from parts of tied rows.

    >>> from types import SimpleNamespace
    >>> free = SimpleNamespace(task=SimpleNamespace(tied=False), predicts=False)
    >>> refuse_parts(free)

    Raises:
        GuideError: the method infers latents, and the rows of its task are tied.
    """
    if method.task.tied and not method.predicts:
        raise GuideError(
            f"{method.task.name}: its rows are tied to one another, so the evidence of "
            "mini-batches does not add up; infer all rows at once (and train with mini_batches=1), "
            "or train 'in_context' or 'neural_process' to predict from mini-batches"
        )
