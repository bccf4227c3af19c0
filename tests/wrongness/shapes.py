"""Posteriors of awkward shape, and numbers of awkward size."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy import stats
from scipy.special import gammaln

import amortppl as ap
from wrongness.columns import SLOPE, success
from wrongness.registry import against, case, on_grid, posterior


def level_of(family, **prior):
    """Rows about one latent m."""

    def model(n, y=None):
        m = numpyro.sample("m", dist.Normal(prior.get("mean", 0.0), prior.get("sd", 1.0)))
        with numpyro.plate("row", n):
            numpyro.sample("y", family(m), obs=y)

    return model


def on_line(family, log_density, y, low=-6.0, high=6.0, **prior):
    """`m` of rows y against a grid."""
    y, sd = np.asarray(y, float), prior.get("sd", 1.0)

    def joint(m):
        away = (m - prior.get("mean", 0.0)) / sd
        return -(away**2) / 2 + log_density(y[:, None], m).sum(0)

    post = posterior(ap.Task(level_of(family, **prior), rows=(2, 64)), {"y": y})
    return against(post, {"m": on_grid(joint, low, high)})


@case("Cauchy rows in two clusters")
def two_clusters():
    y = np.array([-5.0, -4.8, -5.2, 5.0, 4.8, 5.2])
    return on_line(lambda m: dist.Cauchy(m, 0.3), lambda y, m: stats.cauchy.logpdf(y, m, 0.3), y,
                   -12, 12, sd=5.0)  # fmt: skip


@case("Cauchy rows in two unequal clusters")
def unequal_clusters():
    y = np.array([-5.0, -4.8, -5.2, 5.0, 4.8, 5.15, 4.9])
    return on_line(lambda m: dist.Cauchy(m, 0.5), lambda y, m: stats.cauchy.logpdf(y, m, 0.5), y,
                   -12, 12, sd=5.0)  # fmt: skip


@case("one Cauchy row")
def one_cauchy():
    return on_line(lambda m: dist.Cauchy(m, 1), lambda y, m: stats.cauchy.logpdf(y, m), [30.0])


@case("a sign that the data do not tell")
def sign():
    """y ~ N(m^2, 0.5^2): m and -m are equally probable."""
    y = 4 + 0.5 * np.random.default_rng(0).normal(size=12)
    return on_line(lambda m: dist.Normal(m**2, 0.5), lambda y, m: stats.norm.logpdf(y, m**2, 0.5),
                   y, sd=2.0)  # fmt: skip


@case("a sign that many rows do not tell")
def sign_of_many():
    y = 4 + 0.5 * np.random.default_rng(0).normal(size=64)
    return on_line(lambda m: dist.Normal(m**2, 0.5), lambda y, m: stats.norm.logpdf(y, m**2, 0.5),
                   y, sd=2.0)  # fmt: skip


@case("a period that the data do not tell")
def period():
    y = 0.8 + 0.1 * np.random.default_rng(0).normal(size=10)

    def density(y, m):
        return stats.norm.logpdf(y, np.sin(m), 0.1)

    return on_line(lambda m: dist.Normal(jnp.sin(m), 0.1), density, y, -12, 12, sd=2.0)


@case("labels of two components exchangeable")
def labels():
    """Each mean is as often the low one as the high one."""

    def model(n, y=None):
        m = numpyro.sample("m", dist.Normal(0, 3).expand([2]).to_event(1))
        each = dist.Normal(m, 1)
        with numpyro.plate("row", n):
            mix = dist.MixtureSameFamily(dist.Categorical(probs=jnp.ones(2) / 2), each)
            numpyro.sample("y", mix, obs=y)

    rng = np.random.default_rng(0)
    y = rng.normal(size=40) + np.where(np.arange(40) % 2, 3.0, -3.0)
    both = np.repeat([[np.mean(y)]], 2)
    post = posterior(ap.Task(model, rows=(8, 64)), {"y": y})
    return against(post, {"m": (both, np.full(2, 3.0))})


@case("a product of two latents")
def product():
    """Only the product is known: a ridge that bends, and its mirror image."""

    def model(n, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1))
        b = numpyro.sample("b", dist.Normal(0, 1))
        with numpyro.plate("row", n):
            numpyro.sample("y", dist.Normal(a * b, 0.5), obs=y)

    y = 1.0 + 0.5 * np.random.default_rng(0).normal(size=20)
    post = posterior(ap.Task(model, rows=(8, 64)), {"y": y})
    grid = np.linspace(-5, 5, 801)
    a, b = np.meshgrid(grid, grid, indexing="ij")
    height = -(a**2 + b**2) / 2 + stats.norm.logpdf(y[:, None, None], a * b, 0.5).sum(0)
    weight = np.exp(height - height.max()).sum(1)
    sd = float(np.sqrt(np.sum(weight * grid**2) / weight.sum()))
    return against(post, {"a": (0.0, sd), "b": (0.0, sd)})


@case("Neal's funnel with one observation")
def funnel():
    def model(n, y=None):
        v = numpyro.sample("v", dist.Normal(0, 3))
        x = numpyro.sample("x", dist.Normal(0, jnp.exp(v / 2)))
        with numpyro.plate("row", n):
            numpyro.sample("y", dist.Normal(x, 1), obs=y)

    post = posterior(ap.Task(model, rows=(1, 8)), {"y": np.array([0.5])})
    truth = on_grid(lambda v: -(v**2) / 18 + stats.norm.logpdf(0.5, 0, np.sqrt(1 + np.exp(v))),
                    -20, 20)  # fmt: skip
    return against(post, {"v": truth})


def of_slope(x, y, prior, low, high):
    """A logistic slope under N(0, prior^2) against a grid."""

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, prior))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Bernoulli(logits=w * x), obs=y)

    def joint(w):
        logits = x[:, None] * w
        height = np.sum(y[:, None] * logits - np.logaddexp(0, logits), 0)
        return height - (w / prior) ** 2 / 2

    post = posterior(ap.Task(model, SLOPE), {"x": x, "y": y})
    return against(post, {"w": on_grid(joint, low, high)})


@case("perfect separation")
def separation():
    x = np.linspace(-2, 2, 30)
    return of_slope(x, x > 0, 10.0, -20, 80)


@case("all outcomes alike")
def all_alike():
    return of_slope(np.linspace(0.5, 2, 30), np.ones(30), 10.0, -20, 80)


@case("one mislabelled row where float32 saturates")
def saturated():
    """sigmoid(w x) is 1 in 32 bits from 17 on; the row that contradicts costs w x nats."""

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Bernoulli(probs=jax.nn.sigmoid(w * x)), obs=y)

    x = np.append(np.linspace(0.5, 3, 32), 120.0)
    y = np.append(np.ones(32), 0.0)

    def joint(w):
        logits = x[:, None] * w
        return np.sum(y[:, None] * logits - np.logaddexp(0, logits), 0) - w**2 / 2

    post = posterior(ap.Task(model, SLOPE), {"x": x, "y": y})
    return against(post, {"w": on_grid(joint, -3, 6)})


@case("truncated rows")
def truncated():
    y = np.abs(np.random.default_rng(0).normal(size=33)) * 0.5

    def density(y, m):
        return stats.norm.logpdf(y, m, 1) - stats.norm.logsf(0, m, 1)

    return on_line(lambda m: dist.TruncatedNormal(m, 1, low=0), density, y)


@case("a row below the truncation", "'y'", "row 0", "support")
def below_truncation():
    return on_line(lambda m: dist.TruncatedNormal(m, 1, low=0), stats.norm.logpdf, [-0.5, 1.0, 2.0])


@case("zero-inflated counts")
def zero_inflated():
    y = np.where(np.arange(33) % 2, 0, np.random.default_rng(0).poisson(4.0, 33))

    def density(y, m):
        counts = y * m - np.exp(m) - gammaln(y + 1)
        return np.where(y == 0, np.log(0.4 + 0.6 * np.exp(-np.exp(m))), np.log(0.6) + counts)

    return on_line(lambda m: dist.ZeroInflatedPoisson(0.4, jnp.exp(m)), density, y)


@case("a bound of the outcome that is itself a latent")
def unknown_bound():
    """y ~ Uniform(0, top): the posterior begins at the largest y, with an edge."""

    def model(n, y=None):
        top = numpyro.sample("top", dist.Gamma(2, 0.1))
        with numpyro.plate("row", n):
            numpyro.sample("y", dist.Uniform(0, top), obs=y)

    y = np.linspace(0.5, 8, 12)
    post = posterior(ap.Task(model, rows=(2, 64)), {"y": y})
    grid = on_grid(lambda t: np.where(t >= 8, np.log(t) - t / 10 - 12 * np.log(t), -np.inf),
                   1e-3, 60)  # fmt: skip
    return against(post, {"top": grid})


@case("the logistic model at 10,000 rows by one call")
def many_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=10_000)
    y = rng.random(10_000) < 1 / (1 + np.exp(-0.5 * x))

    def joint(w):
        logits = x[:, None] * w
        return np.sum(y[:, None] * logits - np.logaddexp(0, logits), 0) - w**2 / 2

    grid = np.linspace(0.3, 0.7, 201)
    weight = np.exp((height := joint(grid)) - height.max())
    mean = np.sum(weight * grid) / weight.sum()
    sd = np.sqrt(np.sum(weight * (grid - mean) ** 2) / weight.sum())
    post = posterior(ap.Task(success, SLOPE), {"x": x, "y": y}, log_likelihood=False)
    return against(post, {"w": (mean, sd)})
