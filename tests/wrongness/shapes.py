"""Posteriors of awkward shape, and numbers of awkward size."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy import stats
from scipy.special import gammaln

import amortppl as ap
from wrongness.columns import SLOPE, straight, success
from wrongness.issue_data import WIDE, X, Y, plane
from wrongness.issue_models import line, slope_of, trained
from wrongness.registry import MEAN, SD, Seen, against, case, gaussian, marked, on_grid, posterior


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


@case("collinear columns")
def collinear():
    x = np.column_stack([X[:, 0], X[:, 0]])
    return against(posterior(ap.Task(plane, WIDE), {"x": x, "y": Y}), {"w": gaussian(x, Y)})


@case("a constant column beside another")
def constant_columns():
    x = np.ones((20, 2))
    return against(posterior(ap.Task(plane, WIDE), {"x": x, "y": Y}), {"w": gaussian(x, Y)})


@case("duplicate rows")
def duplicates():
    x, y = np.repeat(X[:3], 7, 0), np.repeat(Y[:3], 7)
    return against(posterior(ap.Task(plane, WIDE), {"x": x, "y": y}), {"w": gaussian(x, y)})


@case("one row")
def one_row():
    post = posterior(ap.Task(plane, WIDE), {"x": X[:1], "y": Y[:1]})
    return against(post, {"w": gaussian(X[:1], Y[:1])})


@case("an outcome that never varies, its noise unknown")
def constant_outcome():
    """The density grows without bound as s goes to 0: there is no posterior."""

    def model(n, y=None):
        m = numpyro.sample("m", dist.Normal(0, 1))
        s = numpyro.sample("s", dist.HalfNormal(1))
        with numpyro.plate("row", n):
            numpyro.sample("y", dist.Normal(m, s), obs=y)

    post = posterior(ap.Task(model, rows=(8, 64)), {"y": np.full(20, 0.7)})
    return Seen(np.inf, marked(post))


@case("data forty sds from the prior")
def far_from_prior():
    x, y = line()
    return against(posterior(ap.Task(straight, SLOPE), {"x": x, "y": 40 * x + y}),
                   {"w": slope_of(x, 40 * x + y)})  # fmt: skip


def offset(mean, sd, noise=1.0, rows=40):
    """Rows about mean + 3 sd."""
    y = mean + 3 * sd + noise * np.random.default_rng(0).normal(size=rows)
    precision = 1 / sd**2 + rows / noise**2

    def model(n, y=None):
        m = numpyro.sample("m", dist.Normal(mean, sd))
        with numpyro.plate("row", n):
            numpyro.sample("y", dist.Normal(m, noise), obs=y)

    post = posterior(ap.Task(model, rows=(8, 64)), {"y": y})
    draws = post.posterior["m"].values.ravel().astype(float) - mean
    centre = np.sum(y - mean) / noise**2 / precision
    sd_ratio = np.log(max(float(draws.std()), 1e-300) * precision**0.5)
    off = max(abs(draws.mean() - centre) * precision**0.5 / MEAN, abs(sd_ratio) / SD)
    return Seen(float(off), marked(post))


@case("an outcome with an offset of 1e8")
def huge_offset():
    return offset(1e8, 10.0)


@case("an outcome with an offset of 1e5")
def offset_of_hundred_thousand():
    return offset(1e5, 10.0)


@case("an outcome of the size 1e-8")
def tiny_scale():
    return offset(0.0, 1e-8, 1e-8)


@case("an outcome of the size 1e20")
def large_scale():
    return offset(0.0, 1e20, 1e20)


@case("years as a covariate")
def years():
    """Intercept and slope nearly cancel: sds 30 times as wide as after centring."""

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, jnp.array([100.0, 1.0])).to_event(1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w[0] + w[1] * x, 1), obs=y)

    x = np.arange(1990.0, 2023.0)
    y = 0.05 * (x - 2000) + line()[1]
    both = np.column_stack([np.full(33, 100.0), x])
    mean, sd = gaussian(both, y)
    post = posterior(ap.Task(model, {"x": dist.Uniform(1990, 2023)}), {"x": x, "y": y})
    return against(post, {"w": (mean * [100, 1], sd * [100, 1])})


@case("an income in its own units under exp")
def income():
    """exp(w x) overflows on most of the prior; the posterior is far inside."""

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Poisson(jnp.exp(w * x)), obs=y)

    x = np.linspace(1e4, 9e4, 33)
    y = np.random.default_rng(0).poisson(np.exp(2e-5 * x))
    post = posterior(ap.Task(model, {"x": dist.Uniform(1e4, 9e4)}), {"x": x, "y": y})
    truth = on_grid(lambda w: np.sum(y[:, None] * w * x[:, None] - np.exp(w * x[:, None]), 0),
                    0, 4e-5)  # fmt: skip
    return against(post, {"w": truth})


@case("units of a thousandth of those trained for")
def units():
    x, y = line()
    post = trained(ap.Task(straight, SLOPE, rows=(8, 64)), {"x": 1000 * x, "y": y})
    return against(post, {"w": slope_of(1000 * x, y)})


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
