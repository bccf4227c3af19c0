"""One clear message for each mistake; notes on what the data do not tell."""

import numpy as np
import pandas as pd
import pytest

import amortppl as ap

TABLE = pd.DataFrame(
    {
        "y": [1.0, 2.0, 4.0, 3.0, 5.5, 2.5],
        "x": [0.0, 1.0, 2.0, 3.0, 4.0, 6.0],
        "k": [0, 2, 1, 3, 1, 0],
        "g": list("aabbcc"),
        "b": [0, 0, 0, 1, 1, 1],
        "one": 1.0,
    }
)


def raised(text, table=TABLE, **options):
    with pytest.raises(ap.DataError) as error:
        ap.formula(text, table, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("y ~ x +", 7),
        ("y ~ (x", 4),
        ("y ~ x)", 5),
        ("y ~ x $ g", 6),
        ("y ~ x g", 6),
        ("y ~ x ~ g", 6),
        ("y ~ (1 | )", 9),
        ("y ~ log(x", 7),
        ("y ~", 3),
        ("~ x", 0),
        ("y x", 3),
        ("y ~ x + + * g", 10),
    ],
)
def test_the_place_of_a_mistake_is_marked(text, place):
    formula, mark = raised(text).splitlines()[1:]
    assert formula == f"    {text}" and mark == " " * (4 + place) + "^"


@pytest.mark.parametrize(
    ("text", "options", "saying"),
    [
        ("y ~ xx", {}, "no column 'xx'"),
        ("y ~ lgo(x)", {}, "did you mean 'log'"),
        ("yy ~ x", {}, "did you mean 'y'"),
        ("y ~ (1 | G)", {}, "did you mean 'g'"),
        ("y ~ x", {"family": "gausian"}, "did you mean 'gaussian'"),
        ("y ~ x", {"link": "logit"}, "no link of the family 'gaussian'"),
        ("y ~ x", {"family": "poisson"}, "is 5.5 in row 4 (2 such rows)"),
        ("k ~ x", {"family": "bernoulli"}, "is 2 in row 1 (2 such rows), and the family "
         "'bernoulli' needs 0 and 1, or two levels; family='poisson' or 'gaussian' would fit"),
        ("k ~ x", {"family": "gamma"}, "needs numbers above 0; family='poisson' or 'gaussian' would fit"),
        ("g ~ x", {}, "family='categorical' would fit"),
        ("k ~ x", {"family": "binomial"}, "needs p(successes, trials)"),
        ("p(y, k) ~ x", {"family": "binomial"}, "is 5.5 in row 4"),
        ("p(k, b) ~ x", {"family": "binomial"}, "is 0 in row 0"),
        ("p(k, b) ~ x", {"family": "poisson"}, "needs family='binomial'"),
        ("censored(y, b) ~ x", {}, "is understood for the families 'weibull', 'exponential'"),
        ("one ~ x", {}, "does not vary (every row is 1)"),
        ("one ~ x", {"family": "gamma"}, "'gamma' has no spread to infer"),
        ("one ~ x", {"family": "weibull"}, "'weibull' has no spread to infer"),
        ("y ~ x^2", {}, "a square is {x**2}"),
        ("y ~ log(x)", {}, "'log(x)' is -inf in row 0"),
        ("y ~ x", {"missing": "fill"}, "expected one of 'error', 'drop', 'impute'"),
        ("y ~ x", {"weights": "w"}, "no column 'w'"),
        ("g['z'] ~ x", {"family": "bernoulli"}, "'z' is no level of 'g'"),
        ("g ~ x + (1 | b)", {"family": "categorical"}, "not offered"),
    ],
)  # fmt: skip
def test_mistakes_are_named(text, options, saying):
    assert saying in raised(text, **options)


def test_tables_that_are_none():
    assert "no rows" in raised("y ~ x", TABLE.iloc[:0])
    assert "there is one row" in raised("y ~ x", TABLE.iloc[:1])
    assert "expected a table" in raised("y ~ x", [1, 2])
    assert "two columns are named 'y'" in raised(
        "y ~ x", TABLE.set_axis(["y", "y", *"abcd"], axis=1)
    )
    assert "no row is complete" in raised("y ~ x", TABLE.assign(y=np.nan))
    empty, words = TABLE.assign(x=np.nan), TABLE.assign(g=["a", None, *"bbcc"])
    assert "every cell is missing" in raised("y ~ x", empty, missing="impute")
    assert "it is no numeric column" in raised("y ~ g", words, missing="impute")


def notes(text, table=TABLE, **options):
    with pytest.warns(ap.DesignWarning):
        return " ".join(ap.formula(text, table, **options).notes)


def test_what_the_data_do_not_tell_is_said():
    assert "'one' is the same in every row" in notes("y ~ x + one")
    twice = TABLE.assign(z=2 * TABLE.x - 1, w=TABLE.k)
    messages = notes("y ~ x + k + z", twice)
    assert "'z' follows from" in messages and "'x'" in messages and "'k'" not in messages
    assert "has a single level" in notes("y ~ x + (1 | one)")
    rooms = TABLE.assign(room=np.arange(len(TABLE)) // 2, school=np.arange(len(TABLE)) // 4)
    assert "'room:school' group the rows alike" in notes("y ~ x + (1 | room/school)", rooms)
    assert not ap.formula("y ~ x + (1 | school/room)", rooms).notes
    assert "'C(one)' has a single level, and so no coefficient" in notes("y ~ x + C(one)")
    assert "'n' has a level for every row" in notes("y ~ n", TABLE.assign(n=list("abcdef")))
    assert "'x' separate the levels of 'b' perfectly" in notes("b ~ x", family="bernoulli")
    assert "is the same in every row" in notes("one ~ x", family="bernoulli")
