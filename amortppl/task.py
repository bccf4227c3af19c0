"""A task family: a model, the distribution of its inputs, and the range of its sizes."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from numpyro.distributions.constraints import Constraint

from amortppl.errors import ModelError
from amortppl.local import Local
from amortppl.marginal import Marginal
from amortppl.obs_mask import blanked, refuse_use, seen
from amortppl.parity import check
from amortppl.plain import Plain
from amortppl.program import Program, log_density, log_jacobian, unconstrained
from amortppl.pyro import described, from_pyro, is_pyro
from amortppl.reading import Reading
from amortppl.tracing import rowwise


class Batch(eqx.Module):
    """Rows of one dataset, padded to a fixed number B; `mask` is False on the padding.

    What the mask leaves out still holds valid rows (padding, which comes last, repeats one; a mini-batch may be masked
    out of a longer dataset), so that every log density is finite.
    """

    data: dict[str, Array]
    mask: Bool[Array, "... B"]


class Draw(NamedTuple):
    """A task simulated from the prior: its latents (unconstrained vector) and its rows."""

    latents: Float[Array, " P"]
    data: dict[str, Array]


class Task:
    """A NumPyro model read as a distribution over datasets.

    A dataset D = {(x_i, y_i), i = 1..N} is drawn by N ~ log-uniform on `rows`, x_i ~ `inputs`,
    theta ~ prior, y_i ~ p(y | x_i, theta). Latents of which every row has its own are integrated
    out of the row's likelihood (`amortppl.local`): by quadrature up to three numbers a row, by
    Laplace's approximation with a warning beyond. theta is what all rows share. Rows may also be tied to
    one another by a Gaussian over all of them, as under a Gaussian process (`amortppl.tied`).

    Args:
        model: a NumPyro or Pyro model. Arguments that default to None are observations,
            sampled when they are absent; arguments with another default are constants; the
            others are inputs. One argument that is none of these gets the number of rows.
        inputs: for each input a numpyro distribution of one row, a callable
            `(key, n) -> array`, or a DataFrame/array whose rows are resampled.
        rows: the smallest and largest number of rows to train for, or one fixed number; None
            when the data are one block of fixed size whose entries are not exchangeable.
        constants: values of arguments that are the same in every dataset.
        observed: sites that the data feed by name, for models without an argument for them
            (as with `numpyro.handlers.condition`).
        dims: for a site or an argument, names of its axes (rows and plates name themselves).
        coords: labels along named axes.
        likelihood: False for a simulator whose density is missing or of no use to gradients;
            methods then learn from data alone. Found by itself when an observed site's
            distribution has no `log_prob`.
        name: what to call it; by default the model's name.

    Raises:
        ModelError: no latent (unless rows are tied), no observed site, a discrete latent, a latent for each row
            that other rows depend on, control flow on a latent, or an argument that nothing describes.
    """

    supports: Mapping[str, Constraint] | None = None
    """Of the observations, where no model says them."""

    def __init__(
        self,
        model: Callable[..., Any],
        inputs: Mapping[str, Any] | None = None,
        rows: tuple[int, int] | int | None = (8, 512),
        *,
        constants: Mapping[str, Any] | None = None,
        observed: Sequence[str] = (),
        dims: Mapping[str, Sequence[str]] | None = None,
        coords: Mapping[str, Sequence[Any]] | None = None,
        likelihood: bool = True,
        name: str | None = None,
    ) -> None:
        self.name = name or getattr(model, "__name__", None) or getattr(model, "__wrapped__", model).__class__.__name__
        self.rows = row_range(rows)
        self.dims = {k: list(v) for k, v in (dims or {}).items()}
        self.coords = {k: list(v) for k, v in (coords or {}).items()}
        model = from_pyro(model) if is_pyro(model) else model
        inputs = described(dict(inputs or {}))
        self.program = Program(model, self.name, inputs, constants or {}, observed, self.block)
        given = tuple(self.program.by_name)
        self.plain = Plain(model, self.program.constants, self.program.count, given, self.block)
        found = Reading(self.program, self.rows)
        self.probe_rows = found.rows
        self.model, self.sources, self.constants = self.program.model, self.program.sources, self.program.constants
        self.inputs, self.candidates = list(self.sources), self.program.candidates
        self.by_name, self.count = self.program.by_name, self.program.count
        self.observed, self.sites, self.latents = found.observed, found.sites, found.latents
        self.tied, self.row_axes, self.twins = found.tied, found.row_axes, found.twins
        self.fixed, self.deterministic = found.fixed, found.deterministic
        self.local = Local(self, found.local, found.first, found.second, found.rows[0])
        if self.fixed:
            found.refuse_factors(*self.simulate(jr.key(0), (self.rows or (1, 1))[0]))
        self.rows_like = jax.eval_shape(lambda k: self.simulate(k, found.rows[0]), jr.key(0)).data
        self.has_density = self._has_density()
        for name in self.local.check() if self.local else []:
            del self.deterministic[name]
        self.likelihood = likelihood and self.has_density
        if self.has_density and not isinstance(self.model, Marginal):
            check(self, *self.probe_rows)
            refuse_use(self)

    @staticmethod
    def from_episodes(
        episodes: Callable[[PRNGKeyArray, int], Mapping[str, Any]],
        inputs: Sequence[str],
        observed: Mapping[str, Constraint],
        rows: tuple[int, int] | int,
        **labels: Any,
    ) -> "Task":
        """A task whose datasets are episodes drawn from data, where there is no model to simulate from.

            context and queries = episodes(key, N + N*),    min  E -log p(y* | x*, context)

        It has no latents and no likelihood: the methods that predict observations serve it.

        Args:
            episodes: `(key, rows) -> dict of arrays`, each with `rows` rows first, in jax.numpy, so that it can be
                compiled and batched. The first rows are the context, any number in `rows`; those after it the queries.
            inputs: names of the inputs.
            observed: the support of every observation, from `numpyro.distributions.constraints`; for classes
                0..C-1 `{"y": constraints.integer_interval(0, C - 1)}`.
            rows: the smallest and largest number of context rows to train for, or one fixed number.
            labels: `name`, `dims` and `coords`, as of a `Task`.

        Raises:
            ModelError: the callable fails, cannot be compiled, lacks an argument, or returns other than `rows` finite
                rows within the supports.
        """
        from amortppl.episodes import EpisodeTask

        return EpisodeTask(episodes, inputs, observed, rows, **labels)

    @property
    def block(self) -> bool:
        """Whether the data are one block of fixed size (seen by the engine as one row)."""
        return self.rows is None

    @property
    def arguments(self) -> list[str]:
        """Names of the data: inputs, then observations."""
        return [*self.inputs, *self.observed]

    @property
    def fingerprint(self) -> str:
        """A hash of what the model says of itself: arguments, sites, families, shapes, supports."""
        sites = {n: [s.distribution, s.support, s.shape, s.dtype] for n, s in sorted(self.sites.items())}
        layout = [self.inputs, self.observed, sites, self.latents.unconstrained, self.block]
        return sha256(json.dumps(layout).encode()).hexdigest()[:16]

    def source_code(self) -> str:
        """The model as it was written, or its name where the source is not at hand."""
        try:
            return inspect.getsource(inspect.unwrap(self.model))
        except (OSError, TypeError):
            return self.name

    @property
    def row_free(self) -> bool:
        """Whether rows may be added and left out: nothing in the model but the observations has their size."""
        return not self.block and self.rows[0] != self.rows[1]

    def input_rows(self, key: PRNGKeyArray, rows: int) -> dict[str, Array]:
        """Rows of every input."""
        return self.program.input_rows(key, rows)

    def simulate(self, key: PRNGKeyArray, rows: int) -> Draw:
        """Draws latents from the prior and `rows` rows of inputs and observations. Jit- and vmap-able.

        For a block, `rows` is 1 and every array has a leading axis of 1.
        """
        inputs = self.input_rows(jr.fold_in(key, 0), rows)
        trace = self.program.trace(jr.fold_in(key, 1), inputs, rows)
        return Draw(self._vector(trace), inputs | self._observations(trace))

    def placed(
        self, vector: Float[Array, " P"], data: Mapping[str, Array], local: Mapping[str, Array] | None = None
    ) -> dict[str, dict]:
        """The sites of one run with latents from an unconstrained vector.

        Local latents come, unconstrained by site, from `local` or else from their prior.
        """
        return self.program.placed(jr.key(0), self.latents.unflatten(vector) | (local or {}), data)

    def _vector(self, trace: dict) -> Float[Array, " P"]:
        return self.latents.flatten({n: unconstrained(trace[n]) for n in self.latents.names})

    def _observations(self, trace: dict) -> dict[str, Array]:
        values = {a: blanked(trace[s]) if s in self.twins else trace[s]["value"] for a, s in self.observed.items()}
        return {a: v[None] if self.block else v for a, v in values.items()}

    def unseen(self, data: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
        """For each observation of which a model leaves out rows, which of its values count, and the values with the
        others replaced."""
        trace = self.placed(jnp.zeros(self.latents.size), data)
        found = {a: (seen(trace[s]), blanked(trace[s])) for a, s in self.observed.items() if s in self.twins}
        return jax.tree.map(lambda v: v[None], found) if self.block else found

    def log_densities(self, vector: Float[Array, " P"], data: Mapping[str, Array]) -> tuple[Array, Float[Array, " N"]]:
        """(log prior in unconstrained space, log likelihood of each row).

            log p(theta(u)) + log |d theta / d u|,    log p(y_i | x_i, theta(u)),  i = 1..N

        Args:
            vector: u, the latents' unconstrained vector.
            data: arrays by argument; for a block each with a leading axis of 1, and N = 1.
        """
        return self.local.log_densities(vector, data) if self.local else self.conditional_densities(vector, data, {})

    def conditional_densities(
        self, vector: Float[Array, " P"], data: Mapping[str, Array], local: Mapping[str, Array]
    ) -> tuple[Array, Float[Array, " N"]]:
        """(log prior, log likelihood of each row and prior density of its local latents, which are given)."""
        trace = self.placed(vector, data, local)
        rows = [self._by_row(n, trace[n]) for n in self.observed.values()]
        own = {n: log_density(trace[n]) + log_jacobian(trace[n], u) for n, u in local.items()}
        rows += [rowwise(density, self.local.density_axes[n]) for n, density in own.items()]
        return self._prior(trace, vector), sum(rows)

    def _by_row(self, name: str, site: dict) -> Float[Array, " N"]:
        density = log_density(site, tied=name in self.tied)
        return jnp.sum(density)[None] if self.block else rowwise(density, self.row_axes[name])

    def _prior(self, trace: dict, vector: Float[Array, " P"]) -> Array:
        sites = self.latents.unflatten(vector).items()
        each = (jnp.sum(log_density(trace[n])) + jnp.sum(log_jacobian(trace[n], u)) for n, u in sites)
        return sum(each, jnp.zeros(()))

    def log_prior(self, vector: Float[Array, " P"]) -> Array:
        """Log prior density of the unconstrained vector. The model runs on inputs drawn from the task's own."""
        rows = (self.rows or (1, 1))[0]
        trace = self.program.placed(jr.key(0), self.latents.unflatten(vector), self.input_rows(jr.key(0), rows), rows)
        return self._prior(trace, vector)

    def log_likelihood(self, vector: Float[Array, " P"], batch: Batch) -> Array:
        """Log likelihood of the rows that the mask keeps."""
        return jnp.sum(jnp.where(batch.mask, self.log_densities(vector, batch.data)[1], 0.0))

    def log_joint(self, vector: Float[Array, " P"], batch: Batch) -> Array:
        """Log prior plus masked log likelihood, in unconstrained space, in one run of the model."""
        prior, rows = self.log_densities(vector, batch.data)
        return prior + jnp.sum(jnp.where(batch.mask, rows, 0.0))

    def supported(self, data: Mapping[str, Array]) -> dict[str, Bool[Array, "..."]]:
        """For each observation, which of its values lie in the support of the site it feeds."""
        trace = self.placed(jnp.zeros(self.latents.size), data)
        inside = {a: trace[s]["fn"].support(trace[s]["value"]) for a, s in self.observed.items()}
        whole = {a: jnp.broadcast_to(v, data[a].shape) if self.tied else jnp.asarray(v) for a, v in inside.items()}
        return {a: v[None] if self.block else v for a, v in whole.items()}

    def constrain(self, vector: Float[Array, " P"], data: Mapping[str, Array]) -> dict[str, Array]:
        """Unconstrained vector -> latents, and deterministic sites that do not grow with the rows."""
        trace = self.placed(vector, data)
        return {n: trace[n]["value"] for n in (*self.latents.names, *self.deterministic)}

    def sites_at(
        self, vector: Float[Array, " P"], data: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Latents by name, and each one's log |d theta / d u| summed over its entries."""
        trace, sites = self.placed(vector, data), self.latents.unflatten(vector)
        return {n: trace[n]["value"] for n in sites}, {n: jnp.sum(log_jacobian(trace[n], u)) for n, u in sites.items()}

    def unconstrain(self, values: Mapping[str, Array], data: Mapping[str, Array]) -> Float[Array, " P"]:
        """Latents by name -> unconstrained vector, each through its own support."""
        return self._vector(self.program.trace(jr.key(0), data, place=lambda site: values.get(site["name"])))

    def predict(self, key: PRNGKeyArray, vector: Float[Array, " P"], inputs: Mapping[str, Array], rows: int) -> dict:
        """Draws the observations of `rows` rows of inputs given the latents."""
        return self._observations(self.program.placed(key, self.latents.unflatten(vector), inputs, rows))

    def _has_density(self) -> bool:
        """Whether every observed site can evaluate its log density."""
        rows = 1 if self.block else self.rows[0]
        try:
            jax.eval_shape(lambda k: self.log_densities(*self.simulate(k, rows)), jr.key(0))
        except NotImplementedError:
            return False
        return True


def row_range(rows: tuple[int, int] | int | None) -> tuple[int, int] | None:
    """Smallest and largest number of rows; None for one block."""
    if rows is None:
        return None
    low, high = (rows, rows) if isinstance(rows, int) else rows
    if not 1 <= low <= high:
        raise ModelError(f"rows: expected 1 <= smallest <= largest, or None for one block; got ({low}, {high})")
    return int(low), int(high)
