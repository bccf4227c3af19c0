"""Where the inputs of simulated tasks come from."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

from amortppl.errors import ModelError
from amortppl.task.inputs import draw_rows, source


def rows(given, n=50, block=False):
    return np.asarray(source("x", given, block).rows(jr.key(0), n))


def test_a_distribution_describes_one_row():
    assert rows(dist.Normal(0, 1).expand([3])).shape == (50, 3)
    assert rows(dist.Dirichlet(jnp.ones(4))).shape == (50, 4)
    assert rows(dist.Normal(0, 1)).shape == (50,)


def test_a_callable_makes_rows():
    assert rows(lambda key, n: jr.uniform(key, (n, 2))).shape == (50, 2)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray, list, pd.Series])
def test_rows_of_a_table_are_resampled(kind):
    assert set(rows(kind([1.0, 2.0, 3.0])).tolist()) == {1.0, 2.0, 3.0}


def test_whole_numbers_stay_whole():
    assert rows(np.array([1, 2])).dtype.kind == "i"
    assert rows(pd.DataFrame({"a": [1.5, 2.0], "b": [1, 2]})).shape == (50, 2)


def test_tables_of_equal_length_stay_joined():
    drawn = draw_rows(
        {"a": source("a", np.arange(9), False), "b": source("b", 10 * np.arange(9), False)},
        jr.key(1),
        40,
    )
    np.testing.assert_array_equal(10 * drawn["a"], drawn["b"])


def test_distributions_are_independent():
    drawn = draw_rows(
        {"a": source("a", dist.Normal(), False), "b": source("b", dist.Normal(), False)},
        jr.key(1),
        40,
    )
    assert not np.allclose(drawn["a"], drawn["b"])


def test_an_array_is_the_block():
    np.testing.assert_array_equal(rows(np.arange(4.0), 2, block=True), [np.arange(4.0)] * 2)


@pytest.mark.parametrize("given", [["a", "b"], pd.DataFrame({"a": ["x"]}), [], [np.inf], None, "x"])
def test_what_is_no_source(given):
    with pytest.raises(ModelError, match=r"inputs\['x'\]"):
        source("x", given, False)


def test_a_masked_row_is_named():
    """What lies under a mask is no number of the user's."""
    table = np.ma.masked_array([1.0, -999.0, 2.0], mask=[0, 1, 0])
    with pytest.raises(ModelError, match=r"inputs\['x'\].*row 1 is masked, and 1 of 3"):
        source("x", table, False)
    assert set(rows(np.ma.masked_array([1.0, 2.0], mask=False)).tolist()) == {1.0, 2.0}


@pytest.mark.parametrize("large", [1e39, -1e39, 2**40])
def test_a_number_beyond_32_bits_is_named(large):
    with pytest.raises(ModelError, match=r"inputs\['x'\]: -?1\S+ at row 1 is beyond"):
        source("x", np.array([0, large]), block=False)
