"""Models with enumerated discrete latents, read as models of their continuous latents alone.

With z the discrete latents, all continuous latents theta before them, and y the observations,

    p(y | theta) = sum_z p(z | theta) p(y | z, theta),

summed exactly by numpyro.contrib.funsor, plate by plate and along chains, so that a chain of T
states costs T steps.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist
import numpyro.handlers as handlers
from numpyro.primitives import Messenger

from amortppl.errors import ModelError, quoted
from amortppl.task.program import log_density

Values = Mapping[str, Any]

FEW = 4
"""States that are summed out one by one in a chain too: up to so many its curvature costs no more
so, and less to
compile (two states: 4.5 CPU s for 6.0, and half the time to run)."""


@dataclass(frozen=True)
class Parts:
    """What a model's sites are.

    Attributes:
        hidden: discrete latents, to be summed out.
        fed: sites that the observation feeds.
        after: deterministic sites that come after the first hidden one and may depend on it.
        rows: the plate that encloses all hidden and fed sites, if there is one.
        nesting: how many plates are nested at most.
        observation: how a simulation gives the observation: "returned", or a site's name.
        support: of the fed sites.
    """

    hidden: tuple[str, ...]
    fed: tuple[str, ...]
    after: tuple[str, ...]
    rows: str | None
    nesting: int
    observation: str
    support: Any

    @property
    def covered(self) -> tuple[str, ...]:
        """Sites that no outer handler sees."""
        return (*self.hidden, *self.fed, *self.after)


class Marginal:
    """A model whose discrete latents are summed out: one observed site, named as the argument that
    feeds it.

    The model marks the discrete latents by `infer={"enumerate": "parallel"}` (or
    `config_enumerate`). If its argument feeds several sites, the model must return what was
    observed, so that the observation can be simulated.

    Args:
        model: a NumPyro model.
        argument: the observation, None when simulating.
    """

    def __init__(self, model: Callable[..., Any], argument: str) -> None:
        self.model, self.argument = model, argument
        self.__name__ = getattr(model, "__name__", type(model).__name__)
        self.__wrapped__ = model
        self.__signature__ = inspect.signature(model)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Samples the continuous latents, then the observation given them."""
        given = dict(self.__signature__.bind(*args, **kwargs).arguments)
        value = given.pop(self.argument, None)
        parts = self.parts(given)
        if not parts.hidden:
            self.model(**given, **{self.argument: value})
            return
        with (
            handlers.trace() as trace,
            handlers.block(hide=list(parts.covered)),
            _Keys(parts.covered),
        ):
            self.model(**given)
        latents = {n: s["value"] for n, s in trace.items() if s["type"] in ("sample", "param")}
        numpyro.sample(self.argument, Observation(self, given, latents, parts), obs=value)

    def parts(self, given: Values) -> Parts:
        """What the model's sites are, by running it without and with an observation."""
        free, returned = self._run(given)
        candidates = [("returned", returned)] if isinstance(returned, jax.Array) else []
        candidates += [
            (n, s["value"])
            for n, s in free.items()
            if s["type"] == "sample" and not s["is_observed"]
        ]
        for how, value in candidates:
            fed = self._fed_by(given, value, free)
            if fed and (how == "returned" or fed == [how]):
                return _parts(free, fed, how)
        raise ModelError(
            f"the discrete latents {quoted(n for n, s in free.items() if _is_enumerated(s))} can be "
            f"summed out only when "
            f"what {self.argument!r} observes can be simulated: let the model return the observed "
            f"values, stacked as "
            f"{self.argument!r} has them"
        )

    def verify(self, given: Values) -> None:
        """Checks on numbers that what the model returns is what it would have observed.

        Raises:
            ModelError: given its own return value, a site has another value than the simulated one.
        """
        parts = self.parts(given)
        free, returned = self._run(given)
        value = returned if parts.observation == "returned" else free[parts.observation]["value"]
        again, _ = self._run({**given, self.argument: value})
        wrong = [n for n in parts.fed if not jnp.array_equal(free[n]["value"], again[n]["value"])]
        if wrong:
            raise ModelError(
                f"the model returns other values than {self.argument!r} gives to {quoted(wrong)}: "
                f"return the observed "
                f"values, stacked as {self.argument!r} has them"
            )

    def simulate(self, key: jax.Array, given: Values, latents: Values, parts: Parts) -> Any:
        """An observation drawn given the continuous latents."""
        free, returned = self._run(given, key, latents)
        return returned if parts.observation == "returned" else free[parts.observation]["value"]

    def _run(
        self, given: Values, key: Any = None, latents: Values | None = None
    ) -> tuple[Any, Any]:
        """The trace and the returned value of the model on its own."""
        seeded = handlers.seed(self.model, jr.key(0) if key is None else key)
        with (
            handlers.block(),
            handlers.trace() as trace,
            handlers.substitute(data=dict(latents or {})),
        ):
            returned = seeded(**given)
        return trace, returned

    def _fed_by(self, given: Values, value: Any, free: Any) -> list[str]:
        try:
            seen, _ = self._run({**given, self.argument: value})
        except Exception:  # a value of another shape than the argument's
            return []
        return [
            n
            for n, s in seen.items()
            if s["type"] == "sample" and s["is_observed"] and not free[n]["is_observed"]
        ]


class Observation(dist.Distribution):
    """p(y | theta) with the discrete latents summed out."""

    def __init__(self, marginal: Marginal, given: Values, latents: Values, parts: Parts) -> None:
        self.marginal, self.given, self.latents, self.parts = marginal, given, latents, parts
        shape = jax.eval_shape(
            lambda k: marginal.simulate(k, given, latents, parts), jr.key(0)
        ).shape
        axes = 0 if parts.rows is None else 1
        super().__init__(shape[:axes], shape[axes:], validate_args=False)

    @property
    def support(self) -> Any:
        """That of each entry."""
        return dist.constraints.independent(self.parts.support, self.event_dim)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draws by running the model."""

        def one(k: jax.Array) -> Any:
            return self.marginal.simulate(k, self.given, self.latents, self.parts)

        if not sample_shape:
            return one(key)
        drawn = jax.vmap(one)(jr.split(key, int(jnp.prod(jnp.array(sample_shape)))))
        return drawn.reshape(*sample_shape, *self.batch_shape, *self.event_shape)

    def log_prob(self, value: Any) -> Any:
        """log sum_z p(z, y | theta): a number for each row, or one when no plate encloses z and
        y.
        """
        return _sum_out(
            self.marginal, {**self.given, self.marginal.argument: value}, self.latents, self.parts
        )


def _is_enumerated(site: Any) -> bool:
    return (
        site["type"] == "sample"
        and not site["is_observed"]
        and site["infer"].get("enumerate") == "parallel"
    )


def _parts(free: Any, fed: list[str], how: str) -> Parts:
    hidden = [n for n, s in free.items() if _is_enumerated(s) and n not in fed]
    names = list(free)
    first = min((names.index(n) for n in hidden), default=len(names))
    after = [n for n in names[first:] if free[n]["type"] == "deterministic"]
    frames = [{f.name: f.dim for f in free[n]["cond_indep_stack"]} for n in (*hidden, *fed)]
    shared = [n for n in frames[0] if all(n in f for f in frames)]
    rows = min(shared, key=lambda n: frames[0][n]) if len(shared) == 1 else None
    deepest = [f.dim for s in free.values() for f in s.get("cond_indep_stack", ())]
    return Parts(
        tuple(hidden),
        tuple(fed),
        tuple(after),
        rows,
        -min(deepest, default=0),
        how,
        _support(free[fed[0]]),
    )


def _support(site: Any) -> Any:
    support = site["fn"].support
    return support.base_constraint if isinstance(support, dist.constraints.independent) else support


def _sum_out(marginal: Marginal, given: Values, latents: Values, parts: Parts) -> Any:
    import funsor
    from numpyro.contrib.funsor.enum_messenger import enum
    from numpyro.contrib.funsor.enum_messenger import trace as packed_trace
    from numpyro.contrib.funsor.infer_util import plate_to_enum_plate

    fixed = handlers.substitute(handlers.seed(marginal.model, jr.key(0)), data=dict(latents))
    with ExitStack() as stack:
        stack.enter_context(handlers.block())
        stack.enter_context(plate_to_enum_plate())
        trace = packed_trace(enum(fixed, -1 - parts.nesting)).get_trace(**given)
    samples = {n: s for n, s in trace.items() if s["type"] == "sample"}
    _refuse_dependent(samples, parts)
    factors = [_factor(samples[n]) for n in (*parts.hidden, *parts.fed)]
    plates = frozenset(f.name for s in samples.values() for f in s["cond_indep_stack"])
    with funsor.interpretations.lazy:
        total = funsor.sum_product.sum_product(
            funsor.ops.logaddexp,
            funsor.ops.add,
            factors,
            eliminate=(frozenset(parts.hidden) | plates) - {parts.rows},
            plates=plates,
        )
    with _sum_exactly():
        found = funsor.optimizer.apply_optimizer(total)
    return funsor.to_data(found, name_to_dim={parts.rows: -1} if parts.rows else None)


def _sum_exactly() -> Any:
    """An interpretation by which states of two factors are summed out as log sum exp(a + b), exact
    wherever they are.

    funsor's own way, a matrix product of exp(a - max a) and exp(b - max b), is zero where each
    factor all but excludes (by 88 nats) what the other favours, as observations of one state may.
    It is left where it is much
    cheaper: for a table larger than both factors with more than `FEW` states, the step of a chain.
    """
    import funsor
    from funsor import ops

    exact = funsor.interpretations.DispatchedInterpretation("exact")

    @exact.register(
        funsor.cnf.Contraction, ops.LogaddexpOp, ops.AddOp, frozenset, funsor.Tensor, funsor.Tensor
    )
    def _(red_op: Any, bin_op: Any, states: Any, one: Any, other: Any) -> Any:
        wider = {*one.inputs, *other.inputs} not in ({*one.inputs}, {*other.inputs})
        if wider and prod(v.output.size for v in states) > FEW:
            return None
        return bin_op(one, other).reduce(red_op, states)

    return funsor.interpretations.PrioritizedInterpretation(exact, funsor.interpretations.eager)


def _factor(site: Any) -> Any:
    """A site's log density with its axes named after plates and discrete latents."""
    import funsor

    density, named = log_density(site), site["infer"]["dim_to_name"]
    return funsor.to_funsor(
        density if named else jnp.reshape(density, ()), output=funsor.Real, dim_to_name=named
    )


def _refuse_dependent(samples: Any, parts: Parts) -> None:
    rest = {n: s for n, s in samples.items() if n not in (*parts.hidden, *parts.fed)}
    for name, site in rest.items():
        on = set(site["infer"].get("dim_to_name", {}).values()) & set(parts.hidden)
        if on:
            raise ModelError(
                f"the latent {name!r} depends on the discrete {quoted(sorted(on))}, which are "
                f"summed out: sample "
                f"{name!r} before them, one value for each state, and choose among the values by "
                f"the state"
            )


class _Keys(Messenger):
    """Random keys for sites that are hidden from the handler that would give them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.key = set(names), jr.key(0)
        super().__init__()

    def process_message(self, msg: Any) -> None:
        """Gives a hidden sample site a key of its own."""
        if msg["type"] == "sample" and msg["name"] in self.names and msg["value"] is None:
            self.key, msg["kwargs"]["rng_key"] = jr.split(self.key)
