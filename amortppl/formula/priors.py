"""Priors as text: weakly informative on the data's own scale, and those that a user gives.

    intercept at the columns' means ~ Normal(location, 2.5 spread)
    coefficient of a column         ~ Normal(0, 2.5 spread / sd(column))
    sds of group effects            ~ HalfNormal(as the coefficient)

`spread` is the outcome's sd where coefficients are in its units, and 1 on a log or logit scale.
Gabry and Goodrich, "Prior distributions for rstanarm models"; Capretto et al. 2022, "Bambi", JSS
103.
"""

import ast
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from amortppl.errors import DataError, nearest, quoted
from amortppl.formula.design import Design
from amortppl.formula.families import FAMILIES
from amortppl.formula.links import LINKS
from amortppl.formula.outcome import Outcome
from amortppl.formula.scaling import Scaling

WIDE = 2.5
"""Standard deviations of a default prior, in units of the data (rstanarm's)."""


class Prior(NamedTuple):
    """A NumPyro distribution by name with numbers as arguments.

    >>> Prior("Normal", (0.0, 2.5)).text
    'dist.Normal(0.0, 2.5)'
    """

    name: str
    arguments: tuple[float, ...]

    @property
    def text(self) -> str:
        """Text of the program."""
        return f"dist.{self.name}({', '.join(map(number, self.arguments))})"

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{a:.4g}' for a in self.arguments)})"


class Priors(NamedTuple):
    """All priors of a formula.

    Attributes:
        intercept: of the intercept at the columns' means; None where there is none.
        coefficients: of each column.
        groups: of the standard deviations of each group's effects.
        correlations: the concentration of LKJ for each group.
        parameters: of the family's further parameters, by name.
    """

    intercept: Prior | None
    coefficients: tuple[Prior, ...]
    groups: tuple[tuple[Prior, ...], ...]
    correlations: tuple[float, ...]
    parameters: dict[str, Prior]


def number(value: float) -> str:
    """A number as text that reads back to the same 32 bits."""
    return repr(float(f"{float(value):.9g}"))


def default_priors(
    design: Design, scaling: Scaling, outcome: Outcome, family: str, link: str
) -> Priors:
    """The priors of a formula on its data. See the module."""
    kind = FAMILIES[family]
    values = outcome.values[~outcome.missing].astype(float)
    trials = None if outcome.trials is None else outcome.trials[~outcome.missing]
    spread = _spread(values, family)
    level = _level(values, design.offset, trials, family, link)
    width = spread if kind.scaled and link == "identity" else 1.0
    if not design.intercept and kind.intercept:
        width = float(np.hypot(width, level))
    slopes = tuple(Prior("Normal", (0.0, WIDE * width / u)) for u in scaling.units)
    groups = tuple(
        tuple(Prior("HalfNormal", (WIDE * width / u,)) for u in _units(g.matrix, g.terms))
        for g in design.groups
    )
    has_intercept = design.intercept and kind.intercept
    return Priors(
        Prior("Normal", (level, WIDE * width)) if has_intercept else None,
        slopes,
        groups,
        tuple(1.0 for _ in design.groups),
        {p.name: read_prior(p.prior.format(rate=1.0 / spread)) for p in kind.parameters},
    )


def _spread(values: np.ndarray, family: str) -> float:
    kind = FAMILIES[family]
    if not kind.scaled:
        return 1.0
    return max(float(np.std(np.log(values) if kind.of_log else values)), 1e-30)


def _level(
    values: np.ndarray, offset: np.ndarray | None, trials: Any, family: str, link: str
) -> float:
    """The link of the outcome's mean, less the offset's."""
    kind = FAMILIES[family]
    if kind.scaled and link == "identity":
        level = float(np.mean(np.log(values) if kind.of_log else values))
        return level - (0.0 if offset is None else float(np.mean(offset)))
    if not (kind.of_log or kind.scaled):
        return 0.0
    mean = max(float(np.mean(values)), 1.0 / (2.0 * len(values)))
    level = LINKS[link].forward(mean) if mean > 0 else 0.0
    return level - (0.0 if offset is None else float(np.mean(offset)))


def _units(matrix: np.ndarray, terms: Sequence[str]) -> np.ndarray:
    units = Scaling.of(matrix, True).units
    return np.where([t == "Intercept" for t in terms], 1.0, units)


def read_prior(given: Any) -> Prior:
    """A prior from text like `Normal(0, 2.5)`, or from a NumPyro distribution.

    >>> str(read_prior("StudentT(3, 0, 2.5)"))
    'StudentT(3, 0, 2.5)'

    Raises:
        DataError: it is neither, or the distribution does not exist.
    """
    if isinstance(given, Prior):
        return given
    if not isinstance(given, str):
        return _of_distribution(given)
    try:
        call = ast.parse(given.strip().removeprefix("dist."), mode="eval").body
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        arguments = [float(ast.literal_eval(a)) for a in call.args]
        named = {str(k.arg): float(ast.literal_eval(k.value)) for k in call.keywords}
    except (SyntaxError, AssertionError, ValueError, TypeError) as error:
        raise DataError(
            f"priors: expected a distribution with numbers, like 'Normal(0, 2.5)', got {given!r}"
        ) from error
    return _bound(call.func.id, arguments, named)


def _bound(name: str, arguments: list[float], named: dict[str, float]) -> Prior:
    import numpyro.distributions as dist

    kind = getattr(dist, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, dist.Distribution)):
        distributions = [n for n in dir(dist) if n[:1].isupper()]
        raise DataError(
            f"priors: NumPyro has no distribution {name!r}{nearest(name, distributions)}"
        )
    try:
        call = inspect.signature(kind).bind(*arguments, **named)
        kind(*call.args, **call.kwargs, validate_args=True)
    except (TypeError, ValueError) as error:
        raise DataError(f"priors: {name}({', '.join(map(str, arguments))}): {error}") from error
    if call.kwargs:
        call.apply_defaults()
    return Prior(name, tuple(float(a) for a in call.args))


def _of_distribution(given: Any) -> Prior:
    names = list(inspect.signature(type(given).__init__).parameters)[1:]
    values = [getattr(given, n, None) for n in names if n != "validate_args"]
    if not values or any(v is None or np.ndim(v) for v in values):
        raise DataError(
            f"priors: expected text like 'Normal(0, 2.5)' or a NumPyro distribution of one number, "
            f"got {given!r}"
        )
    return Prior(type(given).__name__, tuple(float(v) for v in values))


def override(priors: Priors, given: Mapping[str, Any], design: Design) -> Priors:
    """The priors with those that a user gives, by name.

    Names are `Intercept` (at the columns' means), a column, a term (all its columns), a parameter
    of the family, and for effects of groups `1|school`, `age|school`, `school` (all of them) or
    `correlation|school` (the concentration of LKJ).

    Raises:
        DataError: a name that is none of these.
    """
    names = [*(["Intercept"] if priors.intercept else []), *dict.fromkeys(design.columns)]
    names += [*dict.fromkeys(design.terms), *priors.parameters]
    for group in design.groups:
        names += [
            group.factor,
            f"correlation|{group.factor}",
            *map(_of_group(group.factor), group.terms),
        ]
    for name, value in given.items():
        if name not in names:
            raise DataError(
                f"priors: {name!r} is none of {quoted(dict.fromkeys(names))}{nearest(name, names)}"
            )
        priors = _override_one(priors, name, value, design)
    return priors


def _of_group(factor: str) -> Any:
    return lambda term: f"{'1' if term == 'Intercept' else term}|{factor}"


def _override_one(priors: Priors, name: str, value: Any, design: Design) -> Priors:
    for place, group in enumerate(design.groups):
        if name == f"correlation|{group.factor}":
            several = [float(value) if i == place else c for i, c in enumerate(priors.correlations)]
            return priors._replace(correlations=tuple(several))
    prior = read_prior(value)
    if name == "Intercept":
        return priors._replace(intercept=prior)
    if name in priors.parameters:
        return priors._replace(parameters=priors.parameters | {name: prior})
    places = zip(priors.coefficients, design.columns, design.terms, strict=True)
    slopes = tuple(prior if name in (c, t) else p for p, c, t in places)
    groups = tuple(
        tuple(
            prior if name in (g.factor, _of_group(g.factor)(t)) else p
            for p, t in zip(own, g.terms, strict=True)
        )
        for own, g in zip(priors.groups, design.groups, strict=True)
    )
    return priors._replace(coefficients=slopes, groups=groups)
