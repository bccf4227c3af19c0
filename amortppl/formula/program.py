"""The NumPyro program of a formula, as text that a user can take over."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from amortppl.formula.design import Design, Group
from amortppl.formula.families import FAMILIES
from amortppl.formula.links import LINKS
from amortppl.formula.outcome import Outcome
from amortppl.formula.priors import Prior, Priors, number
from amortppl.formula.scaling import Scaling


class Imputed(NamedTuple):
    """A column with missing cells, each a latent.

    Attributes:
        name: of the argument that numbers the cells.
        column: its place among the columns.
        cells: how many there are.
        mean, sd: of the cells that are not missing.
    """

    name: str
    column: int
    cells: int
    mean: float
    sd: float


class Parts(NamedTuple):
    """All that a program is written from.

    Attributes:
        text: the formula.
        argument: the name of the outcome's argument and site.
    """

    text: str
    family: str
    link: str
    argument: str
    outcome: Outcome
    design: Design
    scaling: Scaling
    priors: Priors
    imputed: tuple[Imputed, ...]


def write_program(parts: Parts) -> str:
    """The program: constants, then `model`."""
    body = [
        *_docstring(parts),
        *_imputation(parts),
        *_intercept(parts),
        *_coefficients(parts),
        *_cutpoints(parts),
        *(line for g, p, c in _with_priors(parts) for line in _group(g, p, c)),
        *(_sample(n, p) for n, p in parts.priors.parameters.items()),
        *_predictor(parts),
        *_likelihood(parts),
    ]
    arguments = ", ".join([*arguments_of(parts), f"{parts.argument}=None"])
    lines = [f"def model({arguments}):", *(f"    {line}" if line else "" for line in body)]
    return "\n".join([*_imports("\n".join(body)), "", *_constants(parts), "", *lines]) + "\n"


def arguments_of(parts: Parts) -> list[str]:
    """Names of the program's inputs, in order."""
    names = ["x"] if parts.design.columns else []
    for group in parts.design.groups:
        names += [group.name] + ([] if group.intercept_only else [f"{group.name}_x"])
    names += [i.name for i in parts.imputed]
    names += ["offset"] if parts.design.offset is not None or not names else []
    given = {n: getattr(parts.outcome, n) for n in ("trials", "limit", "weights")}
    return names + [n for n, v in given.items() if v is not None]


def outcomes_of(parts: Parts) -> int:
    """How many linear predictors a row has."""
    return len(parts.outcome.levels) - 1 if parts.family == "categorical" else 1


def run_program(text: str) -> Any:
    """The function `model` of a program."""
    import linecache

    import jax

    name = f"<formula {abs(hash(text)):x}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    scope: dict[str, Any] = {"__name__": "amortppl_formula"}
    with jax.ensure_compile_time_eval():  # its constants, where a caller is being traced
        exec(compile(text, name, "exec"), scope)
    return scope["model"]


def _imports(body: str) -> list[str]:
    lines = [
        "import jax" if "jax." in body.replace("jnp.", "") else "",
        "import jax.numpy as jnp",
        "import numpyro",
        "import numpyro.distributions as dist",
    ]
    own = [n for n in ("HurdleNegativeBinomial2", "HurdlePoisson") if f"{n}(" in body]
    lines += (
        ["from amortppl.formula.censored import CensoredAbove"] if "CensoredAbove(" in body else []
    )
    lines += [f"from amortppl.formula.hurdle import {', '.join(own)}"] if own else []
    return [line for line in lines if line]


def _constants(parts: Parts) -> list[str]:
    if not parts.design.columns:
        return []
    names = ", ".join(repr(c) for c in parts.design.columns)
    return [
        "# Columns of x, standardised: (column - CENTRES) / UNITS.",
        f"COLUMNS = [{names}]",
        f"CENTRES = {_array(parts.scaling.centres)}",
        f"UNITS = {_array(parts.scaling.units)}",
    ]


def _docstring(parts: Parts) -> list[str]:
    text = " ".join(parts.text.split()).replace("\\", "\\\\").replace('"""', "'''")
    return [f'"""{text}', "", f"Family {parts.family}, link {parts.link}.", '"""']


def _array(values: Sequence[float] | np.ndarray) -> str:
    return f"jnp.array([{', '.join(number(v) for v in values)}])"


def _sample(name: str, prior: Prior) -> str:
    return f'{name} = numpyro.sample("{name}", {prior.text})'


def _intercept(parts: Parts) -> list[str]:
    prior, several = parts.priors.intercept, outcomes_of(parts)
    if prior is None:
        return []
    wide = f".expand([{several}]).to_event(1)" if parts.family == "categorical" else ""
    return [f'at_means = numpyro.sample("intercept_at_means", {prior.text}{wide})']


def _coefficients(parts: Parts) -> list[str]:
    """The coefficients, in units of the user's columns, and the intercept where these are zero."""
    lines: list[str] = []
    if parts.design.columns and parts.family == "categorical":
        shape = f"[{outcomes_of(parts)}, {len(parts.design.columns)}]"
        first, second = _normal(parts.priors.coefficients)
        prior = f"dist.Normal({first}, {second}).expand({shape}).to_event(2)"
        lines = [f'coefficient = numpyro.sample("coefficient", {prior})']
    elif parts.design.columns:
        lines = _vector("coefficient", parts.priors.coefficients, "Normal")
    if parts.priors.intercept is not None:
        shift = " - coefficient @ CENTRES" if parts.design.columns else ""
        lines.append(f'numpyro.deterministic("Intercept", at_means{shift})')
    return lines


def _normal(priors: Sequence[Prior]) -> tuple[str, ...]:
    """The arguments of several priors of one distribution, as arrays."""
    return tuple(_array(a) for a in zip(*(p.arguments for p in priors), strict=True))


def _vector(name: str, priors: Sequence[Prior], usual: str) -> list[str]:
    """A vector of latents: one site where all priors are of the usual distribution."""
    plain = [i for i, p in enumerate(priors) if p.name == usual]
    if len(plain) == len(priors):
        text = f"dist.{usual}({', '.join(_normal(priors))}).to_event(1)"
        return [f'{name} = numpyro.sample("{name}", {text})']
    other = [i for i in range(len(priors)) if i not in plain]
    lines = []
    if plain:
        text = f"dist.{usual}({', '.join(_normal([priors[i] for i in plain]))}).to_event(1)"
        lines.append(f'{name}_usual = numpyro.sample("{name}_usual", {text})')
    lines += [_sample(f"{name}_{i}", priors[i]) for i in other]
    own = f"jnp.stack([{', '.join(f'{name}_{i}' for i in other)}])"
    joined = f"jnp.concatenate([{name}_usual, {own}])" if plain else own
    order = [int(i) for i in np.argsort([*plain, *other])]
    lines.append(f'{name} = numpyro.deterministic("{name}", {joined}[jnp.array({order})])')
    return lines


def _cutpoints(parts: Parts) -> list[str]:
    """Cutpoints from the shares of the levels at the columns' means, uniform on the simplex."""
    if parts.family != "ordinal":
        return []
    shift = " + coefficient @ CENTRES" if parts.design.columns else ""
    levels = len(parts.outcome.levels)
    return [
        f'shares = numpyro.sample("level_share", dist.Dirichlet(jnp.ones({levels})))',
        "below, above = jnp.cumsum(shares)[:-1], jnp.cumsum(shares[::-1])[::-1][1:]",
        "cutpoints = jnp.log(below) - jnp.log(above)",
        f'numpyro.deterministic("threshold", cutpoints{shift})',
    ]


def _with_priors(parts: Parts) -> list[tuple[Group, tuple[Prior, ...], float]]:
    given = (parts.design.groups, parts.priors.groups, parts.priors.correlations)
    return list(zip(*given, strict=True))


def _group(group: Group, priors: tuple[Prior, ...], concentration: float) -> list[str]:
    """The effects of a group's levels, from standard normals."""
    name, size, levels = group.name, len(group.terms), len(group.levels)
    lines = _vector(f"{name}_sd", priors, "HalfNormal")
    spread = f"{name}_standard * {name}_sd"
    if size > 1 and group.correlated:
        prior = f"dist.LKJCholesky({size}, {number(concentration)})"
        lines += [
            f'{name}_factor = numpyro.sample("{name}_factor", {prior})',
            f'numpyro.deterministic("{name}_correlation", {name}_factor @ {name}_factor.T)',
        ]
        spread = f"{name}_standard @ ({name}_sd[:, None] * {name}_factor).T"
    standard = f"dist.Normal(0.0, 1.0).expand([{size}]).to_event(1)"
    return [
        *lines,
        f'with numpyro.plate("{name}", {levels}):',
        f'    {name}_standard = numpyro.sample("{name}_standard", {standard})',
        f'{name}_effect = numpyro.deterministic("{name}_effect", {spread})',
    ]


def _imputation(parts: Parts) -> list[str]:
    """Missing cells as latents, put into the standardised columns."""
    lines = []
    for cell in parts.imputed:
        name, j, last = cell.name, cell.column, cell.cells - 1
        prior = f"dist.Normal({number(cell.mean)}, {number(cell.sd)})"
        inside = f"({name}_value[jnp.minimum({name}, {last})] - CENTRES[{j}]) / UNITS[{j}]"
        lines += [
            f'with numpyro.plate("{name}_cell", {cell.cells}):',
            f'    {name}_value = numpyro.sample("{name}_value", {prior})',
            f"x = jnp.asarray(x).at[:, {j}].set(jnp.where({name} <= {last}, {inside}, x[:, {j}]))",
        ]
    return lines


def _predictor(parts: Parts) -> list[str]:
    """The linear predictor `eta`, and `mean` where the likelihood asks for it."""
    names, terms = arguments_of(parts), []
    if parts.priors.intercept is not None:
        terms.append("at_means")
    if parts.design.columns:
        several = (
            "(UNITS * coefficient).T" if parts.family == "categorical" else "(UNITS * coefficient)"
        )
        terms.append(f"x @ {several}")
    for group in parts.design.groups:
        own = f"{group.name}_effect[{group.name}]"
        terms.append(
            f"{own}[:, 0]" if group.intercept_only else f"jnp.sum({group.name}_x * {own}, -1)"
        )
    if "offset" in names:
        terms.append("offset[:, None]" if parts.family == "categorical" else "offset")
    lines = [f"eta = {' + '.join(terms)}"]
    if "mean" in likelihood_text(parts.family, parts.link):
        lines.append(f"mean = {LINKS[parts.link].inverse}")
    return lines


def likelihood_text(family: str, link: str) -> str:
    """Text of the distribution of a row."""
    kind = FAMILIES[family]
    return kind.by_link.get(link, kind.likelihood)


def _likelihood(parts: Parts) -> list[str]:
    names, argument = arguments_of(parts), parts.argument
    text = likelihood_text(parts.family, parts.link)
    if "limit" in names:
        text = f"CensoredAbove({text}, limit)"
    scale = ", numpyro.handlers.scale(scale=weights)" if "weights" in names else ""
    return [
        f'with numpyro.plate("row", {names[0]}.shape[0]){scale}:',
        f'    numpyro.sample("{argument}", {text}, obs={argument})',
    ]
