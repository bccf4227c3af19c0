"""`numpyro.factor` as the log likelihood of observations whose simulation the user tells.

A factor adds any function of data and latents to the log density. It says nothing of how data come
about, and tasks are simulated; with

    simulate={"y": lambda key, latents, inputs: ...}

the factors with one entry for each row become the log density of one observed site `y`, which is
drawn by that function when `y` is absent. They are log p(y_i | x_i, latents) up to what does not
depend on latents, which `amortppl.task.factor_check` tests.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import numpyro.handlers as handlers
from jaxtyping import Array, PRNGKeyArray
from numpyro.primitives import Messenger

from amortppl.errors import ModelError, nearest, quoted
from amortppl.runtime.seeds import seed_key

Simulator = Callable[[PRNGKeyArray, dict[str, Array], dict[str, Any]], Array]
"""`(key, latents, inputs) -> observation`: latents by site, inputs by argument."""


class LogFactor(dist.Distribution):
    """Observations with a log density that was computed elsewhere.

    Args:
        log_factor: of each row, (N,).
        value: what it was computed at, (N, ...); also what `sample` returns.
    """

    pytree_data_fields = ("log_factor", "value")

    def __init__(self, log_factor: Array, value: Array) -> None:
        self.log_factor, self.value = log_factor, value
        super().__init__(jnp.shape(log_factor), jnp.shape(value)[jnp.ndim(log_factor) :])

    @dist.constraints.dependent_property(is_discrete=False, event_dim=None)
    def support(self) -> Any:
        """Any number."""
        return dist.constraints.independent(dist.constraints.real, len(self.event_shape))

    def sample(self, key: PRNGKeyArray | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """The value that the log density is of."""
        return jnp.broadcast_to(self.value, (*sample_shape, *jnp.shape(self.value)))

    def log_prob(self, value: Array) -> Array:
        """As it was given: `value` is the one it was computed at."""
        return self.log_factor


class _Factors(Messenger):
    """Takes the factors with an entry for each row out of a run, and adds them up.

    Args:
        rows: how many there are.
        seen: sites to hide, which were seen in an earlier run.
        model: what to run.
    """

    def __init__(
        self,
        rows: int,
        seen: Mapping[str, Any] | None = None,
        model: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(model)
        self.rows, self.seen, self.total = rows, seen or {}, None

    def process_message(self, msg: Any) -> None:
        """Hides a factor of rows."""
        if msg["name"] in self.seen:
            msg["stop"] = True
        fn = msg["fn"] if msg["type"] == "sample" else None
        if isinstance(fn, dist.Unit) and fn.batch_shape[:1] == (self.rows,):
            msg["stop"] = True
            each = fn.log_factor.reshape(self.rows, -1).sum(1)
            self.total = each if self.total is None else self.total + each


def with_simulated(
    name: str, model: Callable[..., Any], simulate: Mapping[str, Simulator]
) -> Callable[..., Any]:
    """The model, whose factors of rows are the log density of a site that can be simulated.

    Args:
        name: the model's, for messages.
        model: with an argument that defaults to None, of which factors are functions.
        simulate: how that argument is simulated; one.

    Raises:
        ModelError: there are several, or it is no such argument.
    """
    parameters = inspect.signature(model).parameters
    if len(simulate) != 1:
        raise ModelError(f"{name}: simulate names {quoted(simulate)}; expected one observation")
    [(argument, draw)] = simulate.items()
    if argument not in parameters or parameters[argument].default is not None:
        raise ModelError(
            f"{name}: simulate names {argument!r}, which is no argument that defaults to None (it "
            f"has {quoted(parameters)}){nearest(argument, parameters)}"
        )

    @functools.wraps(model)
    def simulated(**given: Any) -> Any:
        value, others = given.get(argument), {n: v for n, v in given.items() if n != argument}
        if value is None:
            value, seen = _draw(name, model, draw, argument, others)
            latents = _values(seen)
            placed = handlers.substitute(handlers.seed(model, seed_key(0)), data=latents)
            factors = _Factors(len(value), seen)
            with factors:
                result = placed(**others, **{argument: value})
            numpyro.sample(argument, LogFactor(_expect(name, argument, factors), value))
            return result
        factors = _Factors(jnp.shape(value)[0])
        with factors:
            result = model(**given)
        fn = LogFactor(_expect(name, argument, factors), value)
        numpyro.sample(argument, fn, obs=value)
        return result

    return simulated


def _draw(
    name: str,
    model: Callable[..., Any],
    draw: Simulator,
    argument: str,
    others: dict[str, Any],
) -> tuple[Array, dict[str, Any]]:
    """The simulated observation, and the sites of the run that it is of."""
    like = _shape(name, model, draw, argument, others)
    absent = jnp.zeros(like.shape, like.dtype)
    run = handlers.trace(_Factors(like.shape[0], None, model))
    sites = run.get_trace(**others, **{argument: absent})
    return draw(numpyro.prng_key(), _values(sites), others), sites


def _values(sites: Mapping[str, Any]) -> dict[str, Array]:
    kinds = ("sample", "deterministic")
    return {
        n: s["value"]
        for n, s in sites.items()
        if s["type"] in kinds and not s.get("is_observed") and s["value"] is not None
    }


def _shape(
    name: str,
    model: Callable[..., Any],
    draw: Simulator,
    argument: str,
    others: dict[str, Any],
) -> Any:
    """The shape of a simulated observation, from a run up to where the model needs it."""

    def run(key: Array) -> Array:
        sites = handlers.trace(handlers.seed(model, key))
        # A model fails where it first needs the observation; what it sampled before is enough.
        with handlers.block(), suppress(TypeError, AttributeError, ValueError):
            sites(**others, **{argument: None})
        return jnp.asarray(draw(key, _values(sites.trace), others))

    try:
        like = jax.eval_shape(run, seed_key(0))
    except Exception as error:
        raise ModelError(
            f"{name}: simulate[{argument!r}](key, latents, inputs) fails: {type(error).__name__}: "
            f"{error}. It gets the latents that the model samples before it needs {argument!r}, "
            "and the model's other arguments"
        ) from error
    if not like.shape:
        raise ModelError(
            f"{name}: simulate[{argument!r}] should return an array with one row for each row of "
            "data, got one number"
        )
    return like


def _expect(name: str, argument: str, factors: _Factors) -> Array:
    """The sum of the factors.

    Raises:
        ModelError: there is none with an entry for each row.
    """
    if factors.total is None:
        raise ModelError(
            f"{name}: simulate names {argument!r}, but no numpyro.factor has one entry for each of "
            f"its {factors.rows} rows. Pass a vector of log densities, one a row, without its sum"
        )
    return factors.total
