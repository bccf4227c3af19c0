"""Formulas as programs: design matrices, densities, names, missing cells."""

import warnings
from datetime import date
from decimal import Decimal
from functools import partial

import jax
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import numpyro.handlers as handlers
import pandas as pd
import patsy
import polars as pl
import pytest
from scipy import stats

import amortppl as ap
from amortppl.data.sources.whole import read_table
from amortppl.fit.data_task import arrays_by_argument
from amortppl.formula.families import FAMILIES
from amortppl.formula.text_columns import read_text_columns


@pytest.fixture(scope="module")
def table():
    """Sixty rows of every kind of column."""
    random = np.random.default_rng(0)
    n = 60
    frame = pd.DataFrame(
        {
            "x": random.normal(5, 2, n),
            "z": random.normal(0, 1, n),
            "income": random.lognormal(10, 1, n),
            "g": random.choice(list("abcd"), n),
            "h": random.choice(list("uvw"), n),
            "n": random.integers(5, 10, n),
            "flag": random.choice([True, False], n),
            "event": random.integers(0, 2, n),
        }
    )
    frame["y"] = 1 + 0.5 * frame.x + random.normal(size=n)
    frame["time"] = np.exp(0.2 * frame.x + 0.3 * random.normal(size=n))
    frame["count"] = random.poisson(2, n)
    frame["answer"] = random.choice(["no", "yes"], n)
    frame["success"] = random.binomial(frame.n, 0.4)
    frame["share"] = random.beta(2, 3, n)
    levels = ["low", "mid", "high"]
    frame["level"] = pd.Categorical(random.choice(levels, n), categories=levels, ordered=True)
    return frame


COMMON = [
    "x", "x + z", "x * z", "x:z", "x + g", "x * g", "g", "0 + g", "0 + x", "0 + g + h",
    "g * h", "g:h", "x * g * h", "C(n)", "x + C(n)", "x * C(n)", "(x + g + h)**2", "x + g - 1",
    "log(income)", "log(income) + x", "np.log(income)", "sqrt(income) * g", "I(x**2)", "x + I(x**2)",
    "x + I(x * z)", "center(x)", "x:g", "0 + x:g", "g / x", "1", "g + x:g", "g + h + x + z",
    "x + z + g:h", "(x + z) * g", "exp(z)", "abs(z) + x", "0 + x + z + g", "x + log(income) * g",
    "flag", "x * flag", "flag * g", "0 + C(flag)", "level", "x + level", "level * flag", "C(flag)",
    "log10(income)", "log1p(income)", "center(x) * g", "(x + z)**2", "(x + z + income)**2",
    "x * z * g", "g / h", "C(n):x", "C(n) * flag", "x:z:g", "np.exp(z) + np.abs(z)",
    "0 + g:h", "I(x > 5)", "x + I(x > 5) * z", "bs(x, df=5) + g",
]  # fmt: skip
"""Right-hand sides that patsy reads as formulae does."""


@pytest.mark.filterwarnings("ignore::amortppl.errors.DesignWarning")
@pytest.mark.parametrize("predictor", COMMON)
def test_columns_span_what_patsy_spans(table, predictor):
    """Up to the order and coding of columns: each is a sum of multiples of the other's, to 1e-8."""
    form = ap.formula(f"y ~ {predictor}", table)
    design, ones = form.parts.design, np.ones((len(table), 1))
    ours = np.concatenate([ones, design.matrix], 1) if design.intercept else design.matrix
    scope = {n: getattr(np, n) for n in ("log", "log10", "log1p", "sqrt", "exp", "abs")} | {
        "np": np
    }
    theirs = np.asarray(patsy.dmatrix(predictor, table, patsy.EvalEnvironment([scope])))
    assert ours.shape == theirs.shape
    for a, b in ((ours, theirs), (theirs, ours)):
        left = b - a @ np.linalg.lstsq(a, b, rcond=None)[0]
        assert np.abs(left).max() < 1e-8 * (1 + np.abs(b).max())


@pytest.mark.parametrize("predictor", ["poly(x, 3)", "bs(x, df=5)", "scale(x) + g", "{x + z}"])
def test_columns_are_those_of_formulae(table, predictor):
    from formulae import design_matrices

    theirs = design_matrices(f"y ~ {predictor}", table).common
    form = ap.formula(f"y ~ {predictor}", table)
    np.testing.assert_array_equal(form.parts.design.matrix, np.asarray(theirs)[:, 1:])
    assert [*form.columns] == [n for t in theirs.terms.values() for n in t.labels][1:]


CASES = [
    ("y ~ x + log(income) + C(g)*x + (1 + x | h)", "gaussian"),
    ("weighted(y, n) ~ poly(x, 2) + bs(z, df=4) + (x || g:h)", "gaussian"),
    ("y ~ 1", "student"),
    ("time ~ x", "lognormal"),
    ("time ~ 0 + g", "gamma"),
    ("censored(time, event) ~ x", "weibull"),
    ("censored(time, event) ~ x", "exponential"),
    ("share ~ x", "beta"),
    ("answer ~ x + flag", "bernoulli"),
    ("p(success, n) ~ x", "binomial"),
    ("count ~ x + offset(log(n))", "poisson"),
    ("count ~ x", "negative_binomial"),
    ("count ~ x", "zero_inflated_poisson"),
    ("count ~ x", "zero_inflated_negative_binomial"),
    ("count ~ x", "hurdle_poisson"),
    ("count ~ x", "hurdle_negative_binomial"),
    ("level ~ x + (1 | g)", "ordinal"),
    ("level ~ x * z", "categorical"),
]


def test_every_family_is_tried():
    assert {family for _, family in CASES} == set(FAMILIES)


@pytest.mark.parametrize(("text", "family"), CASES)
def test_the_text_is_the_program(table, text, family):
    """Executed by itself it has the sites and the numbers of the model, and takes the same data."""
    form = ap.formula(text, table, family)
    scope = {}
    exec(form.source(), scope)
    programs = [
        jax.make_jaxpr(partial(traced, model, form.data))(jr.key(0))
        for model in (form.model, scope["model"])
    ]
    assert str(programs[0]) == str(programs[1])
    assert programs[0].out_avals[0].shape == (60,)


def traced(model, data, key):
    """Log densities of the outcome and of the latents, at a draw."""
    trace = handlers.trace(handlers.seed(model, key)).get_trace(**data)
    sites = [s for s in trace.values() if s["type"] == "sample"]
    order = sorted(sites, key=lambda s: not s["is_observed"])
    return [s["fn"].log_prob(s["value"]) for s in order]


@pytest.mark.parametrize(("text", "family"), [CASES[3], CASES[8]])
def test_the_text_has_the_models_log_density(table, text, family):
    form = ap.formula(text, table, family)
    scope = {}
    exec(form.source(), scope)
    heights = [
        jax.jit(partial(traced, model, form.data))(jr.key(0))
        for model in (form.model, scope["model"])
    ]
    for ours, theirs in zip(*heights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert not np.isnan(ours).any()


def test_the_density_is_that_of_the_users_units(table):
    """Against scipy in float64, at coefficients on the user's scale; float32 leaves 1e-4."""
    form = ap.formula("y ~ x + log(income) + (1 + x | h)", table)
    random = np.random.default_rng(1)
    b, at_means, sigma = np.array([0.4, -0.2]), 3.0, 1.3
    effect = random.normal(size=(3, 2))
    fixed = {"coefficient": b, "intercept_at_means": at_means, "sigma": sigma, "h_effect": effect}
    fixed |= {"h_sd": np.ones(2), "h_factor": np.eye(2), "h_standard": np.zeros((3, 2))}
    model = handlers.substitute(handlers.seed(form.model, 0), data=fixed)
    trace = handlers.trace(model).get_trace(**form.data)
    x = np.stack([table.x, np.log(table.income)], 1)
    levels = sorted(table.h.unique())
    own = effect[[levels.index(h) for h in table.h]]
    intercept = at_means - x.mean(0) @ b
    eta = intercept + x @ b + own[:, 0] + own[:, 1] * table.x.to_numpy()
    expected = stats.norm(eta, sigma).logpdf(table.y)
    site = trace["y"]
    np.testing.assert_allclose(site["fn"].log_prob(site["value"]), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trace["Intercept"]["value"], intercept, rtol=1e-4)


def test_names_are_coordinates(table):
    form = ap.formula("y ~ x + C(n) + (1 + x | g:h)", table)
    assert form.columns[:2] == ("x", "C(n)[6]")
    assert form.coords["g_h_term"] == ["Intercept", "x"]
    seen = {f"{a}:{b}" for a, b in zip(table.g, table.h, strict=True)}
    assert set(form.coords["g_h"]) == seen


def test_levels_and_success():
    table = pd.DataFrame({"a": ["x", "y", "z", "x"], "b": [1.0, 2.0, 3.0, 5.0]})
    form = ap.formula("a['z'] ~ b", table, "bernoulli")
    assert form.data["a"].tolist() == [0, 0, 1, 0]
    assert ap.formula("a ~ b", table, "categorical").outcome.levels == ("x", "y", "z")


def test_priors_are_on_the_datas_scale_and_can_be_given(table):
    """Those of rstanarm: 2.5 sd(y) / sd(x), centred at the outcome's mean; sigma ~ Exp(1/sd(y))."""
    form = ap.formula("y ~ x + g", table)
    spread = table.y.std(ddof=0)
    priors = form.priors
    np.testing.assert_allclose(priors.intercept.arguments, (table.y.mean(), 2.5 * spread))
    np.testing.assert_allclose(
        priors.coefficients[0].arguments, (0.0, 2.5 * spread / table.x.std(ddof=0))
    )
    np.testing.assert_allclose(priors.parameters["sigma"].arguments, (1 / spread,))
    given = {"g": "Normal(0, 1)", "x": dist.StudentT(3.0, 0.0, 2.0), "sigma": "HalfNormal(2)"}
    form = ap.formula("y ~ x + g", table, priors=given)
    assert [str(p) for p in form.priors.coefficients] == ["StudentT(3, 0, 2)"] + 3 * [
        "Normal(0, 1)"
    ]
    trace = handlers.trace(handlers.seed(form.model, 0)).get_trace(**form.data)
    assert trace["coefficient"]["value"].shape == (4,)
    assert float(trace["coefficient"]["value"][0]) == float(trace["coefficient_0"]["value"])
    assert "sigma: HalfNormal(2)" in str(form)


@pytest.mark.parametrize(
    ("given", "saying"),
    [
        ({"xx": "Normal(0, 1)"}, "did you mean 'x'"),
        ({"x": "Norml(0, 1)"}, "did you mean 'Normal'"),
        ({"x": "Normal(0, -1)"}, "Normal"),
        ({"x": "__import__('os')"}, "expected a distribution"),
        ({"x": dist.Normal(0, np.ones(2))}, "of one number"),
    ],
)
def test_a_bad_prior_is_named(table, given, saying):
    with pytest.raises(ap.DataError, match=saying.replace("(", r"\(")):
        ap.formula("y ~ x", table, priors=given)


def test_missing_cells(table):
    holes = table.copy()
    holes.loc[3:5, "x"] = np.nan
    holes.loc[7:8, "y"] = np.nan
    with pytest.raises(ap.DataError, match="'x' in 3 rows"):
        ap.formula("y ~ x + z", holes)
    with pytest.warns(ap.DesignWarning):
        form = ap.formula("y ~ x + z", holes, missing="drop")
        other = ap.formula("y ~ x + z", holes, missing="impute")
    assert len(form.frame) == 55 and list(form.unobserved.index) == [7, 8]
    assert any("3 of 60 rows left out" in n for n in form.notes)
    trace = handlers.trace(handlers.seed(other.model, 0)).get_trace(**other.data)
    value = np.asarray(trace["x_missing_value"]["value"])
    assert value.shape == (3,)
    mean = np.asarray(trace["y"]["fn"].loc)
    level, b = float(trace["Intercept"]["value"]), np.asarray(trace["coefficient"]["value"])
    by_hand = level + value * b[0] + holes.z[3:6].to_numpy() * b[1]
    np.testing.assert_allclose(mean[3:6], by_hand, rtol=1e-3, atol=1e-3)
    with pytest.raises(ap.DataError, match="stand alone"):
        ap.formula("y ~ log(x)", holes, missing="impute")


def test_new_rows_by_the_old_moments(table):
    form = ap.formula("y ~ scale(x) + bs(z, df=4) + g + (1 | h)", table)
    again = form.inputs(table)
    for name, values in again.items():
        np.testing.assert_allclose(values, form.data[name], atol=1e-12)
    some = form.inputs(table.iloc[:3])
    np.testing.assert_allclose(some["x"], form.data["x"][:3], atol=1e-12)
    with pytest.raises(ap.DataError, match="'new' of 'h'"):
        form.inputs(table.iloc[:2].assign(h="new"))


def test_kinds_of_columns():
    """Dates, nullable and Arrow types, categories and booleans give the columns of plain ones."""
    plain = pd.DataFrame({"y": [1.0, 2.5, 2.0, 4.0], "a": [1, 2, 3, 5], "b": list("uvuv")})
    fancy = pd.DataFrame(
        {
            "y": pd.array([1.0, 2.5, 2.0, 4.0], "Float64"),
            "a": pd.array([1, 2, 3, 5], "int64[pyarrow]"),
            "b": pd.Categorical(list("uvuv")),
        }
    )
    forms = [ap.formula("y ~ a + b", t) for t in (plain, fancy)]
    np.testing.assert_array_equal(forms[0].data["x"], forms[1].data["x"])
    when = pd.DataFrame(
        {"y": plain.y, "day": pd.to_datetime(["2020-01-01"] * 2 + ["2020-01-03"] * 2)}
    )
    days = when.day.dt.date
    for each in (when.day, days, days.astype("date32[pyarrow]"), when.day.dt.to_period("D")):
        matrix = ap.formula("y ~ day", when.assign(day=each)).parts.design.matrix
        np.testing.assert_array_equal(matrix[:, 0], [18262.0] * 2 + [18264.0] * 2)


def test_tables_of_polars_and_arrow_are_those_of_pandas(tmp_path):
    """In memory and from Parquet: enumerations keep their order, decimals are numbers."""
    answers = pl.Enum(["low", "mid", "high"])
    columns = {
        "answer": pl.Series(["mid", "low", "high", "low"], dtype=answers),
        "price": pl.Series([Decimal("1.50"), Decimal("2.25"), None, Decimal("4")]),
        "kind": pl.Series(list("uvuv"), dtype=pl.Categorical),
        "day": [date(2020, 1, 1 + i) for i in range(4)],
        "pass": [True, False, True, True],
        "count": pl.Series([1, 2, 3, 4], dtype=pl.UInt8),
    }
    table = pl.DataFrame(columns)
    table.write_parquet(tmp_path / "table.parquet")
    file = read_text_columns(read_table(tmp_path / "table.parquet"))[0]
    for each in (table, table.to_arrow(), file):
        with pytest.warns(ap.DesignWarning, match="1 of 4 rows left out"):
            form = ap.formula(
                "answer ~ price + kind + day + pass + count", each, "ordinal", missing="drop"
            )
        assert form.outcome.levels == ("low", "mid", "high")
        assert form.data["answer"].tolist() == [1, 0, 0]
        expected = [[1.5, 0, 18262, 1, 1], [2.25, 1, 18263, 0, 2], [4, 1, 18265, 1, 4]]
        np.testing.assert_array_equal(form.parts.design.matrix, expected)
    of_model = arrays_by_argument(lambda count, price=None: None, table)
    assert np.asarray(of_model["count"]).tolist() == [1, 2, 3, 4]
    with pytest.raises(ap.DataError, match=r"LazyFrame.*collect\(\)"):
        ap.formula("count ~ price", table.lazy())


def test_new_rows_of_a_binomial_have_their_own_trials():
    old = {"k": [1, 2, 3], "n": [5, 6, 7], "x": [0.0, 1.0, 2.0]}
    form = ap.formula("p(k, n) ~ x", old, "binomial")
    assert form.inputs({"x": [1.0], "n": [9]}, trials=True)["trials"].tolist() == [9]
    with pytest.raises(ap.DataError, match="need their trials, 'n'"):
        form.inputs({"x": [1.0]}, trials=True)
    same = ap.formula("p(k, 8) ~ x", old, "binomial")
    assert same.inputs({"x": [1.0]}, trials=True)["trials"].tolist() == [8]


def test_without_problems_nothing_is_warned_of(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ap.formula("y ~ x + g", table).notes == ()
