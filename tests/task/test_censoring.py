"""Censored observations: simulated as they are scored, refused where nothing says how."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.errors import ModelError
from amortppl.fit.censored_data import FARTHEST, limits_of_data
from amortppl.runtime.numpy_evaluation import evaluate

X = {"x": dist.Normal(0, 1)}


def right(x, event, time=None):
    """The indicator is one where the time was seen."""
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        rate = jnp.exp(a + 0.5 * x)
        censored = dist.RightCensoredDistribution(dist.Exponential(rate), event == 0)
        numpyro.sample("time", censored, obs=time)


def interval(x, early, late, y=None):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        between = dist.IntervalCensoredDistribution(dist.Normal(a + x, 1), early, late)
        numpyro.sample("y", between, obs=y)


def groups(school, n_school, low, y=None):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("schools", n_school):
        u = numpyro.sample("u", dist.Normal(a, 1))
    with numpyro.plate("row", school.shape[0]):
        numpyro.sample("y", dist.LeftCensoredDistribution(dist.Normal(u[school], 1), low), obs=y)


@pytest.mark.parametrize("wide", [False, True])
def test_an_indicator_apart_from_the_value_is_refused(wide):
    def model(x, c, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            censored = dist.RightCensoredDistribution(dist.Normal(a * x, 1.0), c)
            numpyro.sample("y", censored.mask(x < 9) if wide else censored, obs=y)

    chosen = {"x": dist.Normal(0, 1), "c": lambda k, n: jr.bernoulli(k, 0.3, (n,)).astype(int)}
    with pytest.raises(ModelError, match="'y' is a RightCensoredDistribution, which simulates"):
        ap.Task(model, chosen)


def simulated(task, key, rows):
    return jax.tree.map(jnp.asarray, evaluate(lambda k: task.simulate(k, rows), key))


def expect_share(seen, chance):
    """A correct program fails once in 10^4."""
    sd = np.sqrt((chance * (1 - chance)).sum())
    assert abs(seen.sum() - chance.sum()) < 3.9 * sd


def test_right_censored_times_end_at_their_limit():
    """As often as the survival there says; the density is that of SciPy."""
    task = ap.Task(right, X, (8, 64), censoring={"event": lambda k, n: jnp.full(n, 0.8)})
    draw = simulated(task, jr.key(1), 2000)
    x, event, time = (np.asarray(draw.data[n], float) for n in ("x", "event", "time"))
    law = stats.expon(scale=np.exp(-float(draw.latents[0]) - 0.5 * x))
    assert (time[event == 0] == np.float32(0.8)).all() and (time[event == 1] < 0.8).all()
    expect_share(event == 0, law.sf(0.8))
    truth = np.where(event == 1, law.logpdf(time), law.logsf(time))
    own = np.asarray(task.log_densities(draw.latents, draw.data)[1])
    assert own == pytest.approx(truth, rel=1e-3, abs=1e-3)


def test_intervals_lie_between_visits():
    """Each of four with the probability of its interval; an infinite end is read as none."""
    visits = np.array([-1.0, 0.5, 1.5], np.float32)
    limits = {"early": lambda k, n: jnp.full(n, -1.0), "late": lambda k, n: jnp.tile(visits[1:], (n, 1))}  # fmt: skip
    task = ap.Task(interval, X, (8, 64), censoring=limits)
    draw = simulated(task, jr.key(2), 2000)
    x, early, late, y = (np.asarray(draw.data[n], float) for n in ("x", "early", "late", "y"))
    law = stats.norm(float(draw.latents[0]) + x)
    ends = law.cdf(np.append(visits, np.inf)[:, None])
    expect_share(early == 1, ends[0])
    expect_share(late == 1, 1 - ends[2])
    for k in (0, 1):
        between = (y == visits[k : k + 2]).all(1)
        expect_share(between & (early + late == 0), ends[k + 1] - ends[k])
    given = np.where(np.stack([early, late], 1) == 1, [-np.inf, np.inf], y)
    read_back = read(task, {"x": x, "early": early, "late": late, "y": given}).arrays["y"]
    np.testing.assert_array_equal(read_back, y.astype(np.float32))


def test_left_censored_rows_in_groups():
    task = ap.Task(groups, groups={"school": (3, 6)}, rows=(2, 5), censoring={"low": dist.Normal(-1, 0.1)})  # fmt: skip
    data = simulated(task, jr.key(3), 400).data
    low, y, kept = (np.asarray(data[n]) for n in ("low", "y", "school"))
    assert 0.02 < low[kept > 0].mean() < 0.9
    assert np.abs(y[low == 1] + 1).max() < 0.5 and (y[low == 0] > -1.5).all()
    # Groups of data are filled up to more rows than those of simulated tasks have.
    filled = {n: jnp.asarray(np.pad(data[n], [(0, 0), (0, 3)])) for n in task.inputs}
    again = evaluate(lambda k: task.replicate(k, jnp.zeros(1), filled, 400), jr.key(4))
    low, y = again["low"], again["y"]
    assert low.shape == y.shape == (400, 8) and 0.02 < low.mean() < 0.9
    assert np.abs(y[low == 1] + 1).max() < 0.5 and (y[low == 0] > -1.5).all()


def test_an_argument_that_marks_nothing_is_refused():
    with pytest.raises(ModelError, match="censoring names 'x', which changes no indicator"):
        ap.Task(right, {"event": dist.Bernoulli(0.5)}, censoring={"x": dist.Normal(0, 1)})
    with pytest.raises(ModelError, match="name the argument of 'right_censored' in censoring too"):
        late = {"late": lambda k, n: jnp.zeros(n, int)}
        ap.Task(interval, X | late, censoring={"early": dist.Normal(0, 1)})


def test_limits_are_read_off_data():
    """Those of censored rows; of another one beyond its value, or none."""
    data = {"x": np.zeros(4), "event": np.array([1, 0, 0, 1]), "time": np.array([1.0, 2.0, 0.5, 3.0])}  # fmt: skip
    limits = limits_of_data(right, data, ["time"])["event"]
    assert limits.tolist() == [2.0, 2.0, 0.5, FARTHEST]
