"""A task whose episodes come from data instead of a model: what `Task.from_episodes` makes.

    D, D* ~ episodes(key, N + N*),    min over gamma, phi   E_(D, D*)  -log p(y* | x*, D)

There is no model, hence no latents and no likelihood: the methods that predict learn from the
episodes, as in few-shot learning (Vinyals et al. 2016, "Matching networks for one shot learning",
arXiv 1606.04080).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray
from numpyro.distributions.constraints import Constraint

from amortppl.errors import ModelError, nearest, quoted
from amortppl.runtime.compilation import run_once
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Draw
from amortppl.task.density import ConditionalDensity
from amortppl.task.inputs import row_range
from amortppl.task.latents import Latents
from amortppl.task.local_latents import Local
from amortppl.task.program import Program
from amortppl.task.tracing import Site

Episodes = Callable[[PRNGKeyArray, int], Mapping[str, Any]]

LOOKED_AT = 32
"""Episodes drawn once, to see that their values are finite and within the supports."""


class EpisodeTask(AbstractTask):
    """What `Task.from_episodes` makes; used as any other task."""

    def __init__(
        self,
        episodes: Episodes,
        inputs: Sequence[str],
        observed: Mapping[str, Constraint],
        rows: tuple[int, int] | int,
        *,
        dims: Mapping[str, Sequence[str]] | None = None,
        coords: Mapping[str, Sequence[Any]] | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or getattr(episodes, "__name__", type(episodes).__name__)
        _expect_episodes(episodes, self.name, rows)
        self.episodes, self.rows = episodes, row_range(rows)
        self.model = _no_model(episodes, self.name)
        self.inputs, self.supports = _inputs(self.name, inputs), _supports(self.name, observed)
        if twice := [n for n in self.inputs if n in self.supports]:
            raise ModelError(
                f"{self.name}: {quoted(twice)} is in `inputs` and in `observed`; name it in one of "
                "them"
            )
        self.observed = {n: n for n in self.supports}
        self.dims = {k: list(v) for k, v in (dims or {}).items()}
        self.coords = {k: list(v) for k, v in (coords or {}).items()}
        self.sources, self.constants, self.deterministic = {}, {}, {}
        self.by_name, self.fixed, self.candidates, self.tied = [], [], list(self.observed), set()
        self.count, self.twins = None, {}
        self.program = Program(lambda **_: self.model(), self.name, {}, {}, (), block=False)
        self.latents, self.likelihood, self.has_density = Latents({}, {}), False, False
        self.row_axes = dict.fromkeys(self.observed, 0)
        self.density = ConditionalDensity(
            self.program, self.latents, self.observed, self.tied, self.row_axes
        )
        self.local = Local(self.density, [], {}, {}, 1)
        self.rows_like = self._shapes()
        self.sites = {
            n: _site(n, self.rows_like[n], support) for n, support in self.supports.items()
        }
        self._look()

    @property
    def row_free(self) -> bool:
        """Whether rows may be added and left out: always."""
        return True

    def simulate(self, key: PRNGKeyArray, rows: int) -> Draw:
        """Draws an episode of `rows` rows; there are no latents. Jit- and vmap-able."""
        made = self.episodes(key, rows)
        return Draw(jnp.zeros(0), {n: jnp.asarray(made[n]) for n in self.arguments})

    def supported(self, data: Mapping[str, Array]) -> dict[str, Bool[Array, "..."]]:
        """For each observation, which of its values lie in its support."""
        return {n: jnp.asarray(self.supports[n](data[n])) for n in self.observed}

    def _shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and types of the fewest rows, after a look at what comes for the fewest and the
        most.
        """
        fewest, most = (self._traced(self.rows[end]) for end in (0, 1))
        for name in self.arguments:
            if fewest[name].shape[1:] != most[name].shape[1:]:
                raise ModelError(
                    f"{self.name}: a row of {name!r} has shape {fewest[name].shape[1:]} in an "
                    f"episode of "
                    f"{self.rows[0]} rows and {most[name].shape[1:]} in one of {self.rows[1]}; "
                    f"make them the same"
                )
        return {n: fewest[n] for n in self.arguments}

    def _traced(self, rows: int) -> dict[str, jax.ShapeDtypeStruct]:
        call = f"{self.name}: episodes(key, {rows})"
        try:
            made = jax.eval_shape(
                jax.vmap(lambda key: self.episodes(key, rows)), jr.split(jr.key(0))
            )
        except jax.errors.JAXTypeError as error:
            raise ModelError(
                f"{call} needs a value that JAX does not know when it compiles: "
                f"{str(error).splitlines()[0]}. Draw "
                "with jax.random and write it in jax.numpy, so that it can be compiled and batched"
            ) from error
        except Exception as error:
            raise ModelError(f"{call} raised {type(error).__name__}: {error}") from error
        if not isinstance(made, Mapping):
            raise ModelError(f"{call}: expected a dict of arrays by argument, got {_kind(made)}")
        missing = [n for n in self.arguments if n not in made]
        if missing or len(made) > len(self.arguments):
            other = [n for n in made if n not in self.arguments]
            hint = (
                nearest(missing[0], other)
                if missing
                else "; name it in `inputs` or in `observed`, or leave it out"
            )
            raise ModelError(
                f"{call}: expected a dict of {quoted(self.arguments)}, got one of {quoted(made)}: "
                f"{quoted(missing)} "
                f"missing, {quoted(other)} unknown{hint}"
            )
        shapes = {n: jax.ShapeDtypeStruct(s.shape[1:], s.dtype) for n, s in made.items()}
        for name, shape in shapes.items():
            if shape.shape[:1] != (rows,):
                raise ModelError(
                    f"{call}: expected {name!r} with {rows} rows first, got shape {shape.shape}; "
                    f"`rows` counts those "
                    "of the whole episode, not of each class"
                )
            if shape.dtype.kind not in "biuf":
                raise ModelError(f"{call}: expected numbers in {name!r}, got {shape.dtype}")
        return shapes

    def _look(self) -> None:
        keys = jr.split(jr.key(0), LOOKED_AT)
        drawn = run_once(jax.vmap(lambda key: self.simulate(key, self.rows[1]).data), keys)
        for name, values in drawn.items():
            bad = int(np.sum(~np.isfinite(np.asarray(values, np.float64))))
            if bad:
                raise ModelError(
                    f"{self.name}: expected finite numbers in {name!r}, got {bad} of {values.size} "
                    f"that are not; drop "
                    "or fill missing values before episodes are drawn"
                )
        for name, inside in jax.vmap(self.supported)(drawn).items():
            outside = np.argwhere(~np.asarray(inside))
            if len(outside):
                value = np.asarray(drawn[name])[tuple(outside[0])]
                raise ModelError(
                    f"{self.name}: the episodes hold {name!r} = {value}, outside the support given "
                    f"for it, "
                    f"{self.supports[name]!r}; are classes counted from 0?"
                )


def _expect_episodes(episodes: Any, name: str, rows: Any) -> None:
    if not callable(episodes):
        raise ModelError(
            f"episodes: expected a callable (key, rows) -> dict of arrays, got {_kind(episodes)}"
        )
    if rows is None:
        raise ModelError(
            f"{name}: rows: expected (smallest, largest) rows of context, or one number, got "
            "None; a block has no rows to predict from others"
        )


def _no_model(episodes: Episodes, name: str) -> Callable[..., Any]:
    """Stands where a task keeps its model, for what would run one."""

    @wraps(episodes)
    def model(*args: Any, **kwargs: Any) -> None:
        raise ModelError(
            f"{name}: its episodes come from data; there is no model to run, and no density of "
            f"latents"
        )

    return model


def _inputs(task: str, inputs: Iterable[str]) -> list[str]:
    names = [] if isinstance(inputs, str | Mapping) else list(inputs)
    if not names or not all(isinstance(n, str) for n in names):
        raise ModelError(
            f'{task}: inputs: expected the names of the inputs, as in ["x"], got {inputs!r}'
        )
    return names


def _supports(task: str, observed: Mapping[str, Constraint]) -> dict[str, Constraint]:
    example = '{"y": constraints.integer_interval(0, 4)}'
    if not isinstance(observed, Mapping) or not observed:
        raise ModelError(
            f"{task}: observed: expected the support of every observation, as in {example}, got "
            f"{observed!r}; no model "
            "says what values an observation can take"
        )
    for name, support in observed.items():
        if not isinstance(support, Constraint):
            raise ModelError(
                f"{task}: observed[{name!r}]: expected a support from "
                f"numpyro.distributions.constraints, as in "
                f"{example}, got {support!r}"
            )
    return dict(observed)


def _site(name: str, like: jax.ShapeDtypeStruct, support: Constraint) -> Site:
    """What a model's trace would tell of the observation; its shape that of one row."""
    constraint = (
        repr(support) if hasattr(support, "upper_bound") else type(support).__name__.strip("_")
    )
    discrete, row = bool(support.is_discrete), like.shape[1:]
    return Site(
        name, "sample", "episodes", constraint, discrete, False, row, str(like.dtype), row, (), {}
    )


def _kind(thing: Any) -> str:
    return type(thing).__name__
