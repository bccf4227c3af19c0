"""Families of outcomes: a table. A new family is a new entry.

In the texts `eta` is the linear predictor, `mean` the inverse link of it, and further parameters
go by their names. `{spread}` is the outcome's own standard deviation (of its logarithm for
`lognormal`), so that default priors are weak on the scale of the data, as those of rstanarm
(Goodrich, Gabry, Ali and Brilleman) and Bambi (Capretto et al. 2022, JSS 103).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from amortppl.errors import DataError, nearest, quoted


class Parameter(NamedTuple):
    """A parameter of a family beside its mean: name, and text of its default prior."""

    name: str
    prior: str


class Family(NamedTuple):
    """A family of outcomes.

    Attributes:
        links: names of `amortppl.formula.links`, the default first.
        likelihood: text of the distribution of one row.
        outcome: what values it has, a key of `amortppl.formula.outcome.SUPPORTS`.
        parameters: beside the mean.
        by_link: other texts of the likelihood, by link.
        scaled: whether coefficients are in units of the outcome (else of a logarithm or a logit).
        of_log: whether the intercept's prior is about the log mean of the outcome.
        intercept: whether the linear predictor may have one.
        censored: whether `censored(time, status)` is understood.
    """

    links: tuple[str, ...]
    likelihood: str
    outcome: str
    parameters: tuple[Parameter, ...] = ()
    by_link: Mapping[str, str] = MappingProxyType({})
    scaled: bool = False
    of_log: bool = False
    intercept: bool = True
    censored: bool = False


SIGMA = Parameter("sigma", "Exponential({rate})")
ZERO = Parameter("zero_probability", "Beta(2.0, 2.0)")
CONCENTRATION = Parameter("concentration", "HalfCauchy(1.0)")
SHAPE = Parameter("shape", "HalfCauchy(1.0)")
SIGMOIDS = ("logit", "probit", "cloglog")

FAMILIES = {
    "gaussian": Family(
        ("identity", "log", "inverse"), "dist.Normal(mean, sigma)", "real", (SIGMA,), scaled=True
    ),
    "student": Family(
        ("identity",),
        "dist.StudentT(freedom, mean, sigma)",
        "real",
        (SIGMA, Parameter("freedom", "Gamma(2.0, 0.1)")),
        scaled=True,
    ),
    "lognormal": Family(
        ("identity",), "dist.LogNormal(mean, sigma)", "positive", (SIGMA,), scaled=True, of_log=True
    ),
    "gamma": Family(("log",), "dist.Gamma(shape, shape / mean)", "positive", (SHAPE,), of_log=True),
    "weibull": Family(
        ("log",), "dist.Weibull(mean, shape)", "positive", (SHAPE,), of_log=True, censored=True
    ),
    "exponential": Family(
        ("log",), "dist.Exponential(1.0 / mean)", "positive", of_log=True, censored=True
    ),
    "beta": Family(
        SIGMOIDS,
        "dist.Beta(mean * precision, (1.0 - mean) * precision)",
        "share",
        (Parameter("precision", "HalfCauchy(1.0)"),),
    ),
    "bernoulli": Family(
        SIGMOIDS,
        "dist.Bernoulli(probs=mean)",
        "binary",
        by_link={"logit": "dist.Bernoulli(logits=eta)"},
    ),
    "binomial": Family(
        SIGMOIDS,
        "dist.Binomial(trials, probs=mean)",
        "successes",
        by_link={"logit": "dist.Binomial(trials, logits=eta)"},
    ),
    "poisson": Family(("log", "identity", "sqrt"), "dist.Poisson(mean)", "count", of_log=True),
    "negative_binomial": Family(
        ("log",),
        "dist.NegativeBinomial2(mean, concentration)",
        "count",
        (CONCENTRATION,),
        of_log=True,
    ),
    "zero_inflated_poisson": Family(
        ("log",), "dist.ZeroInflatedPoisson(zero_probability, mean)", "count", (ZERO,), of_log=True
    ),
    "zero_inflated_negative_binomial": Family(
        ("log",),
        "dist.ZeroInflatedNegativeBinomial2(mean, concentration, gate=zero_probability)",
        "count",
        (CONCENTRATION, ZERO),
        of_log=True,
    ),
    "hurdle_poisson": Family(
        ("log",), "HurdlePoisson(zero_probability, mean)", "count", (ZERO,), of_log=True
    ),
    "hurdle_negative_binomial": Family(
        ("log",),
        "HurdleNegativeBinomial2(zero_probability, mean, concentration)",
        "count",
        (CONCENTRATION, ZERO),
        of_log=True,
    ),
    "ordinal": Family(
        ("logit",), "dist.OrderedLogistic(eta, cutpoints)", "levels", intercept=False
    ),
    "categorical": Family(
        ("logit",), "dist.Categorical(logits=jnp.pad(eta, ((0, 0), (1, 0))))", "levels"
    ),
}
"""Families by name. The mean of `weibull` is its scale here; that of `lognormal` is of the log."""

ALIASES = {
    "normal": "gaussian",
    "t": "student",
    "negativebinomial": "negative_binomial",
    "negbinomial": "negative_binomial",
    "zip": "zero_inflated_poisson",
    "zinb": "zero_inflated_negative_binomial",
    "cumulative": "ordinal",
    "multinomial": "categorical",
}
"""Other names of families."""


def family_named(name: str) -> str:
    """The family's own name.

    >>> family_named("normal")
    'gaussian'

    Raises:
        DataError: there is none of this name.
    """
    family = ALIASES.get(name, name)
    if family not in FAMILIES:
        raise DataError(
            f"family: {name!r} is none of {quoted(FAMILIES)}{nearest(str(name), FAMILIES)}"
        )
    return family
