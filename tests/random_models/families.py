"""Distributions as source text: of observations given a predictor and a spread, and of latents.

Written for both languages: `LIB` is jax.numpy or torch, `ARRAY` makes an array.
"""

_CLASSES = "LIB.stack([0.0 * {eta}, {eta}, -{eta}], -1)"
_RATE = "LIB.exp(LIB.clip({eta}, -3.0, 3.0))"
_SHARE = "SIGMOID({eta})"

FAMILIES = {
    "normal": "dist.Normal({eta}, {s})",
    "student": "dist.StudentT(4.0, {eta}, {s})",
    "laplace": "dist.Laplace({eta}, {s})",
    "cauchy": "dist.Cauchy({eta}, {s})",
    "gumbel": "dist.Gumbel({eta}, {s})",
    "logistic": "dist.Logistic({eta}, {s})",
    "bernoulli_logits": "dist.Bernoulli(logits={eta})",
    "bernoulli_probs": f"dist.Bernoulli(probs={_SHARE})",
    "binomial": "dist.Binomial(5, logits={eta})",
    "geometric": "dist.Geometric(logits={eta})",
    "poisson": f"dist.Poisson({_RATE})",
    "negative_binomial": "dist.NegativeBinomial({s} + 1.0, logits={eta})",
    "mean_negative_binomial": f"dist.NegativeBinomial2({_RATE}, {{s}} + 0.5)",
    "gamma": f"dist.Gamma(2.0, {_RATE})",
    "exponential": f"dist.Exponential({_RATE})",
    "log_normal": "dist.LogNormal({eta}, {s})",
    "beta": f"dist.Beta(5.0 * {_SHARE} + 0.1, 5.0 - 4.9 * {_SHARE})",
    "weibull": f"dist.Weibull({_RATE}, 1.5)",
    "half_normal": f"dist.HalfNormal({_RATE})",
    "pareto": f"dist.Pareto(0.5, {_RATE})",
    "von_mises": "dist.VonMises({eta}, 2.0)",
    "truncated": "dist.TruncatedNormal({eta}, {s}, low=-2.0)",
    "uniform": "dist.Uniform({eta} - {s}, {eta} + {s})",
    "categorical": f"dist.Categorical(logits={_CLASSES})",
    "one_hot": f"dist.OneHotCategorical(logits={_CLASSES})",
    "multinomial": f"dist.Multinomial(4, logits={_CLASSES})",
    "dirichlet": f"dist.Dirichlet(0.5 + LIB.exp(LIB.clip({_CLASSES}, -2.0, 2.0)))",
    "ordinal": "dist.OrderedLogistic({eta}, ARRAY([-1.0, 0.5]))",
    "zero_inflated": f"dist.ZeroInflatedPoisson(0.3, {_RATE})",
    "mixture": "dist.MixtureSameFamily(dist.Categorical(probs=ARRAY([0.3, 0.7])), "
    "dist.Normal(LIB.stack([{eta}, {eta} + 2.0], -1), {s}))",
    "multivariate": "dist.MultivariateNormal(LIB.stack([{eta}, -{eta}], -1), "
    "scale_tril={s} * LIB.eye(2))",
    "pairs": "dist.Normal(LIB.stack([{eta}, -{eta}], -1), {s}).to_event(1)",
    "transformed": "dist.TransformedDistribution(dist.Normal({eta}, {s}), "
    "dist.transforms.ExpTransform())",
    "affine": "dist.TransformedDistribution(dist.Normal(0.0, {s}), "
    "dist.transforms.AffineTransform({eta}, 2.0))",
    "left_censored": "dist.LeftCensoredDistribution(dist.Normal({eta}, {s}), censored=x < 0)",
}
"""Of an observation."""

PYRO = {
    "mean_negative_binomial": f"dist.GammaPoisson({{s}} + 0.5, ({{s}} + 0.5) / {_RATE})",
    "zero_inflated": f"dist.ZeroInflatedPoisson({_RATE}, gate=ARRAY(0.3))",
    # Pyro draws only from mixtures whose weights have the components' batch shape.
    "mixture": "dist.MixtureSameFamily(dist.Categorical(probs=LIB.ones_like({eta})[..., None] * "
    "ARRAY([0.3, 0.7])), dist.Normal(LIB.stack([{eta}, {eta} + 2.0], -1), {s}))",
    "truncated": "",
    "left_censored": "",
}
"""Where Pyro differs; without a text it has none."""

NUMPYRO = {"one_hot": ""}
"""Where NumPyro has none."""

VECTORS = ("one_hot", "multinomial", "dirichlet", "multivariate", "pairs")
"""Families with an event axis."""

COUNTS = (
    "bernoulli_logits",
    "bernoulli_probs",
    "binomial",
    "geometric",
    "poisson",
    "negative_binomial",
    "mean_negative_binomial",
    "categorical",
    "ordinal",
    "zero_inflated",
)
"""Families of whole numbers."""

PRIORS = {
    "normal": "dist.Normal(0.0, 1.0)",
    "student": "dist.StudentT(3.0, 0.0, 1.0)",
    "uniform": "dist.Uniform(-1.0, 2.0)",
    "laplace": "dist.Laplace(0.0, 1.0)",
    "beta": "dist.Beta(2.0, 3.0)",
    "half_normal": "dist.HalfNormal(1.0)",
    "exponential": "dist.Exponential(1.0)",
    "gamma": "dist.Gamma(2.0, 2.0)",
    "log_normal": "dist.LogNormal(0.0, 0.5)",
    "half_cauchy": "dist.HalfCauchy(1.0)",
    "inverse_gamma": "dist.InverseGamma(3.0, 2.0)",
}
"""Of a latent number."""

POSITIVE = ("half_normal", "exponential", "gamma", "log_normal", "half_cauchy", "inverse_gamma")
