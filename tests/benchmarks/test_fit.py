"""`ap.fit` with nothing trained on real tables, beside long NUTS of the same program.

Tables come with statsmodels and scikit-learn, in raw units. Figures: the largest error of a mean in
posterior sds, the ratio of sds farthest from 1, the rung that answered, seconds of the process for
`fit` (with compilation) and for NUTS.
"""

import time

import jax
import jax.random as jr
import numpy as np
import pytest
import statsmodels.api as sm
from numpyro.infer import MCMC, NUTS, init_to_median
from sklearn import datasets

import amortppl as ap

DRAWS, CHAINS, WARMUP, LENGTH = 8000, 4, 500, 1000
"""Draws of `fit`, and of NUTS: chains, warm-up, draws of each. 4,000 dependent draws are good for
about 0.03 sd."""

MANY, CHAINS_OF_MANY = 5000, 2
"""Rows from which there are fewer chains."""


def _diabetes():
    return datasets.load_diabetes(as_frame=True, scaled=False).frame


def _iris():
    bunch = datasets.load_iris(as_frame=True)
    frame = bunch.frame.set_axis(["sl", "sw", "pl", "pw", "kind"], axis=1)
    return frame.assign(kind=bunch.target_names[frame.kind])


def _star():
    frame = sm.datasets.star98.load_pandas().data
    return frame.assign(total=frame.NABOVE + frame.NBELOW)


def _heart():
    frame = sm.datasets.heart.load_pandas().data
    return frame.assign(survival=frame.survival + 0.5)


def _engel():
    frame = sm.datasets.engel.load_pandas().data
    return frame.assign(part=frame.foodexp / frame.income)


def _of(name):
    return lambda: getattr(sm.datasets, name).load_pandas().data


def _few(name, rows):
    return lambda: _of(name)().sample(rows, random_state=0)


HEALTH = "mdvis ~ lncoins + idp + lpi + fmde + physlm + disea + hlthg + hlthf + hlthp"

TABLES = {
    "diabetes": (_diabetes, "target ~ age + C(sex) + bmi + bp + s1 + s2 + s3 + s4 + s5 + s6", "gaussian"),
    "longley": (_of("longley"), "TOTEMP ~ GNPDEFL + GNP + UNEMP + ARMED + POP + YEAR", "gaussian"),
    "ccard": (_of("ccard"), "AVGEXP ~ AGE + INCOME + INCOMESQ + OWNRENT", "gaussian"),
    "stackloss": (_of("stackloss"), "STACKLOSS ~ AIRFLOW + WATERTEMP + ACIDCONC", "student"),
    "engel": (_engel, "foodexp ~ log(income)", "lognormal"),
    "engel_part": (_engel, "part ~ log(income)", "beta"),
    "spector": (_of("spector"), "GRADE ~ GPA + TUCE + PSI", "bernoulli"),
    "star98": (_star, "p(NABOVE, total) ~ LOWINC + PERASIAN + PERBLACK + PERHISP + PCTCHRT", "binomial"),
    "cpunish": (_of("cpunish"), "EXECUTIONS ~ INCOME + PERPOVERTY + PERBLACK + log(VC100k96) + SOUTH + DEGREE", "poisson"),
    "randhie": (_of("randhie"), HEALTH, "poisson"),
    "randhie_nb": (_few("randhie", 2000), HEALTH, "negative_binomial"),
    "randhie_zip": (_few("randhie", 1000), "mdvis ~ lncoins + idp + disea", "zero_inflated_poisson"),
    "randhie_hurdle": (_few("randhie", 1000), "mdvis ~ lncoins + disea", "hurdle_negative_binomial"),
    "scotland": (_of("scotland"), "YES ~ COUTAX + UNEMPF + MOR + ACT + GDP + AGE", "gamma"),
    "strikes": (_of("strikes"), "duration ~ iprod", "exponential"),
    "heart": (_heart, "censored(survival, censors) ~ age", "weibull"),
    "anes96": (_of("anes96"), "PID ~ logpopul + selfLR + age + educ + income", "ordinal"),
    "iris": (_iris, "kind ~ sl + sw", "categorical"),
    "grunfeld": (_of("grunfeld"), "log(invest) ~ log(value) + log(capital) + (1 | firm)", "gaussian"),
    "grunfeld_slopes": (_of("grunfeld"), "log(invest) ~ log(capital) + (1 + log(value) | firm)", "gaussian"),
}  # fmt: skip


def run_nuts(form):
    """Draws by site, chains joined."""
    chains = CHAINS if len(form.frame) < MANY else CHAINS_OF_MANY
    mcmc = MCMC(
        NUTS(form.model, target_accept_prob=0.9, init_strategy=init_to_median(num_samples=15)),
        num_warmup=WARMUP,
        num_samples=LENGTH,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jr.key(1), **form.data)
    return {n: np.asarray(v, np.float64) for n, v in mcmc.get_samples().items()}


def errors(ours, theirs, names):
    """The largest error of a mean in sds, and the ratio of sds farthest from 1."""
    z, ratio = 0.0, 1.0
    for name in names:
        a, b = ours[name].reshape(len(ours[name]), -1), theirs[name].reshape(len(theirs[name]), -1)
        kept = b.std(0) > 1e-6 * np.abs(b).max()
        a, b = a[:, kept], b[:, kept]
        z = max(z, np.abs((a.mean(0) - b.mean(0)) / b.std(0)).max(initial=0.0))
        for each in a.std(0) / b.std(0):
            ratio = max(ratio, each, 1 / ratio, key=lambda r: abs(np.log(r)))
    return z, ratio


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TABLES)
def test_beside_long_nuts(name):
    """A reliable answer is within 0.1 sd and 10% of NUTS, four Monte-Carlo errors of both."""
    load, text, family = TABLES[name]
    table = load().reset_index(drop=True)
    jax.clear_caches()
    form = ap.formula(text, table, family)
    begin = time.process_time()
    post = ap.fit(form, draws=DRAWS, log_likelihood=False, predictive=False)
    spent = time.process_time() - begin
    begin = time.process_time()
    reference = run_nuts(form)
    other = time.process_time() - begin
    ours = {
        str(n): np.asarray(v, np.float64)[0] for n, v in post["posterior"].dataset.data_vars.items()
    }
    names = [n for n in reference if n in ours and not n.endswith("_standard")]
    z, ratio = errors(ours, reference, names)
    stats = post["sample_stats"]
    print(
        f"\n{name:16} {family:26} {len(table):6} rows  z {z:.3f}  sd ratio {ratio:.3f}  "
        f"{stats['source'].item():8} k-hat {float(stats['khat']):.2f}  reliable "
        f"{bool(stats['reliable'])}  fit {spent:.1f} CPU s, NUTS {other:.1f}"
    )
    if bool(stats["reliable"]):
        assert z < 0.1 and abs(np.log(ratio)) < 0.1
