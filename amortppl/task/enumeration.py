"""Models with enumerated discrete latents as models of their continuous latents alone.

With z the discrete latents, all continuous latents theta before them, and y the observations,

    p(y | theta) = sum_z p(z | theta) p(y | z, theta),

summed exactly by numpyro.contrib.funsor, plate by plate and along chains, so that a chain of T
states costs T steps.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist
import numpyro.handlers as handlers
from numpyro.primitives import Messenger

from amortppl.errors import ModelError, quoted
from amortppl.task.enumerated_sites import Parts, is_enumerated, read_parts
from amortppl.task.funsor_sum import sum_out

Values = Mapping[str, Any]


class Marginal:
    """A model whose discrete latents are summed out.

    It has one observed site, named as the argument that feeds it.

    The model marks the discrete latents by `infer={"enumerate": "parallel"}` (or
    `config_enumerate`). If its argument feeds several sites, the model must return what was
    observed, so that the observation can be simulated.

    Args:
        model: a NumPyro model.
        argument: the name of the observation's argument, None when simulating.
    """

    def __init__(self, model: Callable[..., Any], argument: str) -> None:
        self.model, self.argument = model, argument
        self.__name__ = getattr(model, "__name__", type(model).__name__)
        self.__wrapped__ = model
        self.__signature__ = inspect.signature(model)
        self._found: dict[Any, tuple[str, list[str]]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Samples the continuous latents, then the observation given them."""
        inputs = dict(self.__signature__.bind(*args, **kwargs).arguments)
        value = inputs.pop(self.argument, None)
        parts = self.parts(inputs)
        if not parts.hidden:
            self.model(**inputs, **{self.argument: value})
            return
        hide = handlers.block(hide=list(parts.covered))
        with handlers.trace() as trace, hide, _Keys(parts.covered):
            self.model(**inputs)
        latents = {n: s["value"] for n, s in trace.items() if s["type"] in ("sample", "param")}
        # A plate may have the argument's name
        name = f"{self.argument}_observed" if self.argument in trace else self.argument
        numpyro.sample(name, Observation(self, inputs, latents, parts), obs=value)

    def parts(self, inputs: Values) -> Parts:
        """The model's sites, read by running it without and with an observation.

        Raises:
            ModelError: what the argument observes cannot be simulated.
        """
        free, returned = self._run(inputs)
        form = tuple((n, *_form(v)) for n, v in inputs.items())
        if form not in self._found:  # every site is tried, each by a run of the model
            self._found[form] = self._observation(inputs, free, returned)
        how, fed = self._found[form]
        return read_parts(free, fed, how)

    def _observation(self, inputs: Values, free: Any, returned: Any) -> tuple[str, list[str]]:
        """What simulates the observation, a site or "returned", and the sites that it feeds."""
        candidates = [
            (n, s["value"])
            for n, s in free.items()
            if s["type"] == "sample" and not s["is_observed"]
        ]
        # Where one site is fed, what the model returns may be anything.
        candidates += [("returned", returned)] if isinstance(returned, jax.Array) else []
        known = {how for how, _ in self._found.values()}
        for how, value in sorted(candidates, key=lambda c: c[0] not in known):
            fed = self._fed_by(inputs, value, free)
            if fed and (how == "returned" or fed == [how]):
                return how, fed
        raise ModelError(
            f"the discrete latents {quoted(n for n, s in free.items() if is_enumerated(s))} can be "
            f"summed out only when what {self.argument!r} observes can be simulated: let the model "
            f"return the observed values, stacked as {self.argument!r} has them"
        )

    def verify(self, inputs: Values) -> None:
        """Checks on numbers that what the model returns is what it would have observed.

        Raises:
            ModelError: given its own return value, a site has another value than the simulated one.
        """
        parts = self.parts(inputs)
        free, returned = self._run(inputs)
        value = returned if parts.observation == "returned" else free[parts.observation]["value"]
        again, _ = self._run({**inputs, self.argument: value})
        wrong = [n for n in parts.fed if not jnp.array_equal(free[n]["value"], again[n]["value"])]
        if wrong:
            raise ModelError(
                f"the model returns other values than {self.argument!r} gives to {quoted(wrong)}: "
                f"return the observed values, stacked as {self.argument!r} has them"
            )

    def simulate(self, key: jax.Array, inputs: Values, latents: Values, parts: Parts) -> Any:
        """An observation drawn given the continuous latents."""
        free, returned = self._run(inputs, key, latents)
        return returned if parts.observation == "returned" else free[parts.observation]["value"]

    def _run(
        self, inputs: Values, key: Any = None, latents: Values | None = None
    ) -> tuple[Any, Any]:
        """The trace and the returned value of the model on its own."""
        seeded = handlers.seed(self.model, jr.key(0) if key is None else key)
        fixed = handlers.substitute(data=dict(latents or {}))
        with handlers.block(), handlers.trace() as trace, fixed:
            returned = seeded(**inputs)
        return trace, returned

    def _fed_by(self, inputs: Values, value: Any, free: Any) -> list[str]:
        try:
            seen, _ = self._run({**inputs, self.argument: value})
        except Exception:  # a value of another shape than the argument's
            return []
        return [
            n
            for n, s in seen.items()
            if s["type"] == "sample" and s["is_observed"] and not free[n]["is_observed"]
        ]


def _form(value: Any) -> tuple[Any, ...]:
    """Shapes and types of an input's arrays: which sites there are depends on nothing else."""
    leaves, structure = jax.tree.flatten(value)
    shown = [(a.shape, a.dtype) if hasattr(a, "shape") else a for a in leaves]
    return structure, *shown


class Observation(dist.Distribution):
    """p(y | theta), the distribution of the observation with the discrete latents summed out."""

    def __init__(self, marginal: Marginal, inputs: Values, latents: Values, parts: Parts) -> None:
        self.marginal, self.inputs, self.latents, self.parts = marginal, inputs, latents, parts
        simulate = partial(marginal.simulate, inputs=inputs, latents=latents, parts=parts)
        shape = jax.eval_shape(simulate, jr.key(0)).shape
        axes = 0 if parts.rows is None else 1
        super().__init__(shape[:axes], shape[axes:], validate_args=False)

    @property
    def support(self) -> Any:
        """The support of the observation, entry by entry."""
        return dist.constraints.independent(self.parts.support, self.event_dim)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draws by running the model."""

        def one(k: jax.Array) -> Any:
            return self.marginal.simulate(k, self.inputs, self.latents, self.parts)

        if not sample_shape:
            return one(key)
        drawn = jax.vmap(one)(jr.split(key, int(jnp.prod(jnp.array(sample_shape)))))
        return drawn.reshape(*sample_shape, *self.batch_shape, *self.event_shape)

    def log_prob(self, value: Any) -> Any:
        """log sum_z p(z, y | theta), (N,), or () where no plate encloses all of z and y."""
        arguments = {**self.inputs, self.marginal.argument: value}
        summed = sum_out(self.marginal.model, arguments, self.latents, self.parts)
        # funsor drops a plate of one row.
        return jnp.broadcast_to(summed, self.batch_shape)


class _Keys(Messenger):
    """Random keys for sites that are hidden from the handler that would give them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.key = set(names), jr.key(0)
        super().__init__()

    def process_message(self, msg: Any) -> None:
        """Gives a hidden sample site a key of its own."""
        if msg["type"] == "sample" and msg["name"] in self.names and msg["value"] is None:
            self.key, msg["kwargs"]["rng_key"] = jr.split(self.key)
