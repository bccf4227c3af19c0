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
import numpyro.handlers as handlers
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from numpyro.distributions import biject_to
from numpyro.distributions.constraints import Constraint

from amortppl.errors import ModelError, nearest, quoted
from amortppl.latents import Latents
from amortppl.local import Local, one_per_row
from amortppl.pyro import described, from_pyro, is_pyro
from amortppl.sources import draw_rows, source
from amortppl.tied import chained, is_tied
from amortppl.tracing import Site, abstract_sites, row_axis, rowwise

PROBE_ROWS = (7, 11)
"""Numbers of rows with which a model is traced to see what grows with its rows."""


class Batch(eqx.Module):
    """Rows of one dataset, padded to a fixed number B; `mask` is False on the padding.

    What the mask leaves out still holds valid rows (padding, which comes last, repeats one; a mini-batch may be masked
    out of a longer dataset), so that every log density is finite.
    """

    data: dict[str, Array]
    mask: Bool[Array, "... B"]


def thinned(batch: Batch, rows: int) -> Batch:
    """A few rows of a longer batch, evenly spaced over those that the mask keeps."""
    kept, place = jnp.sum(batch.mask), jnp.arange(rows)
    nth = jnp.where(kept > rows, place * (kept / rows), place).astype(int)
    place = jnp.minimum(jnp.searchsorted(jnp.cumsum(batch.mask), nth + 1), batch.mask.shape[0] - 1)
    return Batch({n: v[place] for n, v in batch.data.items()}, nth < kept)


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
        self.model = from_pyro(model) if is_pyro(model) else model
        self.name = name or getattr(model, "__name__", None) or getattr(model, "__wrapped__", model).__class__.__name__
        self.rows = row_range(rows)
        self.constants = dict(constants or {})
        self.dims = {k: list(v) for k, v in (dims or {}).items()}
        self.coords = {k: list(v) for k, v in (coords or {}).items()}
        inputs = described(dict(inputs or {}))
        self._signature(inputs, observed)
        self.sources = {k: source(k, v, self.block) for k, v in inputs.items()}
        self._trace()
        self.has_density = self._has_density()
        for name in self.local.check() if self.local else []:
            del self.deterministic[name]
        self.likelihood = likelihood and self.has_density

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
        return draw_rows(self.sources, key, rows)

    # What the model contains.

    def _signature(self, inputs: Mapping[str, Any], observed: Sequence[str]) -> None:
        parameters = inspect.signature(self.model).parameters
        if any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in parameters.values()):
            raise ModelError(
                f"{self.name}: arguments must have names; *args and positional-only arguments cannot be fed"
            )
        named = {n: p for n, p in parameters.items() if p.kind != p.VAR_KEYWORD}
        for given in (*inputs, *self.constants):
            if given not in named:
                raise ModelError(
                    f"{self.name}: {given!r} is not an argument of the model (it has "
                    f"{quoted(named)}){nearest(given, named)}"
                )
        free = [n for n in named if n not in inputs and n not in self.constants]
        self.inputs = [n for n in named if n in inputs]
        self.candidates = [n for n in free if named[n].default is None]
        counts = [n for n in free if named[n].default is inspect.Parameter.empty]
        if len(counts) > 1 or (counts and self.block):
            raise ModelError(
                f"{self.name}: nothing describes the arguments {quoted(counts)}: name each in `inputs` or `constants`, "
                "or give it the default None if it is an observation"
            )
        self.count = counts[0] if counts else None
        self.by_name = list(observed)

    def _probe(self, rows: int) -> dict[str, Site]:
        try:
            return abstract_sites(self._conditioned({}), lambda key: self._kwargs(self.input_rows(key, rows), rows))
        except ModelError:
            raise
        except Exception as error:
            hint = (
                f" ({self.count!r}, which `inputs` does not describe, was given the number of rows)"
                if self.count
                else ""
            )
            raise ModelError(
                f"{self.name}: the model fails when it simulates {rows} rows with {quoted(self.candidates)} "
                f"absent{hint}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _trace(self) -> None:
        rows = PROBE_ROWS if not self.block and self.rows[0] != self.rows[1] else ((self.rows or (1, 1))[0],) * 2
        first, second = self._probe(rows[0]), self._probe(rows[1])
        if any(s.enumerated for s in first.values()) and len(self.candidates) == 1:
            self._sum_out(rows[0])
            first, second = self._probe(rows[0]), self._probe(rows[1])
        self.observed = {name: name for name in self.by_name}
        self.observed.update({a: self._fed_by(a, first, rows[0]) for a in self.candidates})
        targets = set(self.observed.values())
        samples = {n: s for n, s in first.items() if s.kind == "sample"}
        for name in self.by_name:
            if name not in samples:
                raise ModelError(
                    f"{self.name}: observed {name!r} is not a site (it has {quoted(samples)}){nearest(name, samples)}"
                )
        latent = {n: s for n, s in samples.items() if n not in targets and not s.observed}
        self.tied = {n for n in targets if not self.block and all(map(is_tied, (first[n], second[n]), rows))}
        self._refuse(samples, latent, targets)
        self.sites = {**latent, **{n: samples[n] for n in samples if n in targets}}
        self.row_axes = {n: 0 if self.block else self._row_axis(first[n], second[n], rows) for n in targets}
        plates = set() if self.block else {first[n].plates.get(axis, "") for n, axis in self.row_axes.items()}
        local = one_per_row(latent, first, second, plates - {""})
        self.local = Local(self, local, first, second, rows[0])
        shared = {n: s for n, s in latent.items() if n not in local}
        if self.local and not shared:
            raise self.local.error(local, "no other latent is left that the rows share")
        self.latents = Latents({n: s.shape for n, s in shared.items()}, {n: s.unconstrained for n, s in shared.items()})
        self.fixed = [n for n, s in samples.items() if s.observed and n not in targets]
        if self.fixed:
            self._refuse_factors()
        self.rows_like = jax.eval_shape(lambda k: self.simulate(k, 1 if self.block else rows[0]), jr.key(0)).data
        steady = [n for n, s in first.items() if s.kind == "deterministic" and s.shape == second[n].shape]
        self.deterministic = {
            n: first[n] for n in steady if self.block or rows[0] != rows[1] or first[n].shape[:1] != (rows[0],)
        }

    def _sum_out(self, rows: int) -> None:
        """Reads the model as one without the discrete latents that it asks to enumerate."""
        from amortppl.marginal import Marginal

        self.model = Marginal(self.model, self.candidates[0])
        self.model.verify(self._kwargs(self.input_rows(jr.key(0), rows), rows))

    def _has_density(self) -> bool:
        """Whether every observed site can evaluate its log density."""
        rows = 1 if self.block else self.rows[0]
        try:
            jax.eval_shape(lambda k: self.log_densities(*self.simulate(k, rows)), jr.key(0))
        except NotImplementedError:
            return False
        return True

    def _refuse(self, samples: dict, latent: dict, targets: set) -> None:
        where = f"{self.name}: "
        discrete = [n for n, s in latent.items() if s.discrete]
        if discrete:
            raise ModelError(
                f"{where}the latent {quoted(discrete)} is discrete, and a guide needs densities. Sum it out: with "
                "numpyro.distributions.MixtureSameFamily or MixtureGeneral for a label of each row, or by "
                "jax.scipy.special.logsumexp over its values elsewhere"
            )
        if not targets:
            raise ModelError(
                f"{where}no observed site. Give the model an argument with default None and pass it as `obs=` "
                f"(its sample sites are {quoted(samples)}), or name the sites in `observed`"
            )
        if self.tied and self.tied != targets:
            raise ModelError(
                f"{where}the rows of {quoted(self.tied)} are tied to one another by a Gaussian over all of them, those "
                f"of {quoted(targets - self.tied)} are not; observe them in models of their own"
            )
        if not latent and not self.tied:
            raise ModelError(
                f"{where}no latent site: every sample site is observed ({quoted(targets)}), nothing is to be inferred"
            )

    def _row_axis(self, site: Site, other: Site, rows: tuple[int, int]) -> int:
        if site.name in self.tied:
            axis = 0
        elif rows[0] == rows[1]:
            axes = [i for i, size in enumerate(site.density_shape) if size == rows[0]]
            axis = axes[0] if axes else None
        else:
            axis = row_axis(site, other)
        if axis is None:
            raise ModelError(
                f"{self.name}: the log density of {site.name!r} (shape {site.density_shape} at {rows[0]} rows) "
                f"has no axis "
                "of rows. Put the site in a plate over the rows, or say rows=None if the data are one block of "
                "fixed size"
            )
        return axis

    def _fed_by(self, argument: str, sites: dict[str, Site], rows: int) -> str:
        """The site that an argument feeds: the one whose value is the argument once it is given."""
        free = [s for s in sites.values() if s.kind == "sample" and not s.observed]
        changed: list[str] = []
        for guess in sorted(free, key=lambda s: s.name != argument):
            fed: list[str] = []

            def run(key: Array, value: Array, fed: list[str] = fed) -> None:
                kwargs = self._kwargs(self.input_rows(key, rows), rows) | {argument: value}
                trace = handlers.trace(handlers.seed(self._conditioned({}), key)).get_trace(**kwargs)
                seen = {n: s for n, s in trace.items() if s["type"] == "sample" and s["is_observed"]}
                changed.extend(n for n in seen if n in sites and not sites[n].observed)
                fed.extend(n for n, s in seen.items() if s["value"] is value)

            try:
                jax.eval_shape(run, jr.key(0), jax.ShapeDtypeStruct(guess.shape, guess.dtype))
            except Exception:
                continue
            if fed:
                return fed[0]
        reason = (
            f"it reaches the site {quoted(dict.fromkeys(changed))} only after a change; pass the changed values "
            f"as the argument"
            if changed
            else "no sample site is observed when it is given; pass it as `obs=` of a site"
        )
        raise ModelError(
            f"{self.name}: the argument {argument!r} defaults to None, so it should be an observation, but {reason}"
        )

    def _refuse_factors(self) -> None:
        """Sites observed even when simulating must not depend on latents: simulation would ignore them."""

        def fixed(vector: Array, data: dict[str, Array]) -> Array:
            trace, _ = self._placed(vector, data)
            return sum(jnp.sum(trace[n]["fn"].log_prob(trace[n]["value"])) for n in self.fixed)

        draw = self.simulate(jr.key(0), (self.rows or (1, 1))[0])
        slope = jax.grad(fixed)(draw.latents, draw.data)
        if bool(jnp.any(slope != 0)):
            raise ModelError(
                f"{self.name}: the site {quoted(self.fixed)} (a numpyro.factor, or an observation that no "
                f"argument feeds) "
                "changes the density of the latents, but tasks simulated from the model do not follow it. Make it an "
                "argument with default None, or write it as part of the prior"
            )

    # Running the model.

    def _kwargs(self, data: Mapping[str, Array], rows: int) -> dict[str, Any]:
        given = {k: v[0] if self.block else v for k, v in data.items() if k not in self.by_name}
        return {**self.constants, **given, **({self.count: rows} if self.count else {})}

    def _conditioned(self, data: Mapping[str, Array]) -> Callable[..., Any]:
        values = {n: data[n][0] if self.block else data[n] for n in self.by_name if n in data}
        return handlers.condition(self.model, data=values) if values else self.model

    def _rows_of(self, data: Mapping[str, Array]) -> int:
        return next(iter(data.values())).shape[0]

    def _placed(
        self,
        vector: Array,
        data: Mapping[str, Array],
        local: Mapping[str, Array] | None = None,
        rows: int | None = None,
    ) -> tuple[dict, dict[str, Array]]:
        """The model's trace with latents from an unconstrained vector, and each one's log Jacobian.

        Local latents come, unconstrained by site, from `local` (their Jacobians are not summed) or
        else from their prior.
        """
        local, jacobians = local or {}, {}
        values = self.latents.unflatten(vector) | local

        def place(site: dict) -> Array | None:
            if site["type"] != "sample" or site["name"] not in values:
                return None
            unconstrained = values[site["name"]]
            transform = biject_to(site["fn"].support)
            value = transform(unconstrained)
            jacobian = transform.log_abs_det_jacobian(unconstrained, value)
            jacobians[site["name"]] = jacobian if site["name"] in local else jnp.sum(jacobian)
            return value

        model = handlers.substitute(self._conditioned(data), substitute_fn=place)
        model = handlers.seed(model, jr.key(0))
        with handlers.block():  # a guide runs this inside the user's own handlers
            trace = handlers.trace(model).get_trace(**self._kwargs(data, rows or self._rows_of(data)))
        return trace, jacobians

    def simulate(self, key: PRNGKeyArray, rows: int) -> Draw:
        """Draws latents from the prior and `rows` rows of inputs and observations. Jit- and vmap-able.

        For a block, `rows` is 1 and every array has a leading axis of 1.
        """
        inputs = self.input_rows(jr.fold_in(key, 0), rows)
        model = handlers.seed(self._conditioned({}), jr.fold_in(key, 1))
        trace = handlers.trace(model).get_trace(**self._kwargs(inputs, rows))
        vector = self.latents.flatten(
            {n: biject_to(trace[n]["fn"].support).inv(trace[n]["value"]) for n in self.latents.names}
        )
        observed = {a: trace[s]["value"] for a, s in self.observed.items()}
        return Draw(vector, inputs | {a: v[None] if self.block else v for a, v in observed.items()})

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
        trace, jacobians = self._placed(vector, data, local)
        rows = self._rows_of(data)
        likelihood = jnp.zeros(rows)
        for name in self.observed.values():
            likelihood += self._by_row(name, trace[name])
        for name, axis in self.local.density_axes.items():
            likelihood += rowwise(_scaled(trace[name]) + jacobians[name], axis)
        return self._prior(trace, jacobians), likelihood

    def _by_row(self, name: str, site: dict) -> Float[Array, " N"]:
        density = _powered(site, chained(site)) if name in self.tied else _scaled(site)
        return jnp.sum(density)[None] if self.block else rowwise(density, self.row_axes[name])

    def _prior(self, trace: dict, jacobians: Mapping[str, Array]) -> Array:
        return sum((jnp.sum(_scaled(trace[n])) + jacobians[n] for n in self.latents.names), jnp.zeros(()))

    def log_prior(self, vector: Float[Array, " P"]) -> Array:
        """Log prior density of the unconstrained vector. The model runs on inputs drawn from the task's own."""
        rows = (self.rows or (1, 1))[0]
        trace, jacobians = self._placed(vector, self.input_rows(jr.key(0), rows), rows=rows)
        return self._prior(trace, jacobians)

    def log_likelihood(self, vector: Float[Array, " P"], batch: Batch) -> Array:
        """Log likelihood of the rows that the mask keeps."""
        return jnp.sum(jnp.where(batch.mask, self.log_densities(vector, batch.data)[1], 0.0))

    def log_joint(self, vector: Float[Array, " P"], batch: Batch) -> Array:
        """Log prior plus masked log likelihood, in unconstrained space, in one run of the model."""
        prior, rows = self.log_densities(vector, batch.data)
        return prior + jnp.sum(jnp.where(batch.mask, rows, 0.0))

    def supported(self, data: Mapping[str, Array]) -> dict[str, Bool[Array, "..."]]:
        """For each observation, which of its values lie in the support of the site it feeds."""
        trace, _ = self._placed(jnp.zeros(self.latents.size), data)
        inside = {a: trace[s]["fn"].support(trace[s]["value"]) for a, s in self.observed.items()}
        whole = {a: jnp.broadcast_to(v, data[a].shape) if self.tied else jnp.asarray(v) for a, v in inside.items()}
        return {a: v[None] if self.block else v for a, v in whole.items()}

    def constrain(self, vector: Float[Array, " P"], data: Mapping[str, Array]) -> dict[str, Array]:
        """Unconstrained vector -> latents, and deterministic sites that do not grow with the rows."""
        trace, _ = self._placed(vector, data)
        return {n: trace[n]["value"] for n in (*self.latents.names, *self.deterministic)}

    def sites_at(
        self, vector: Float[Array, " P"], data: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Latents by name, and each one's log |d theta / d u| summed over its entries."""
        trace, jacobians = self._placed(vector, data)
        return {n: trace[n]["value"] for n in self.latents.names}, jacobians

    def unconstrain(self, values: Mapping[str, Array], data: Mapping[str, Array]) -> Float[Array, " P"]:
        """Latents by name -> unconstrained vector, each through its own support."""
        model = handlers.seed(handlers.substitute(self._conditioned(data), data=dict(values)), jr.key(0))
        trace = handlers.trace(model).get_trace(**self._kwargs(data, self._rows_of(data)))
        return self.latents.flatten(
            {n: biject_to(trace[n]["fn"].support).inv(trace[n]["value"]) for n in self.latents.names}
        )

    def predict(self, key: PRNGKeyArray, vector: Float[Array, " P"], inputs: Mapping[str, Array], rows: int) -> dict:
        """Draws the observations of `rows` rows of inputs given the latents."""
        values = self.latents.unflatten(vector)

        def place(site: dict) -> Array | None:
            known = site["type"] == "sample" and site["name"] in values
            return biject_to(site["fn"].support)(values[site["name"]]) if known else None

        model = handlers.seed(handlers.substitute(self._conditioned({}), substitute_fn=place), key)
        trace = handlers.trace(model).get_trace(**self._kwargs(inputs, rows))
        return {a: trace[s]["value"][None] if self.block else trace[s]["value"] for a, s in self.observed.items()}


def _scaled(site: dict) -> Array:
    return _powered(site, site["fn"].log_prob(site["value"]))


def _powered(site: dict, density: Array) -> Array:
    return density if site["scale"] is None else site["scale"] * density


def row_range(rows: tuple[int, int] | int | None) -> tuple[int, int] | None:
    """Smallest and largest number of rows; None for one block."""
    if rows is None:
        return None
    low, high = (rows, rows) if isinstance(rows, int) else rows
    if not 1 <= low <= high:
        raise ModelError(f"rows: expected 1 <= smallest <= largest, or None for one block; got ({low}, {high})")
    return int(low), int(high)
