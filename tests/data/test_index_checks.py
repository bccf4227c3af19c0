"""An index that points at no group of the model is an error, not the last group's answer."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.data.index_checks import indices, refuse_own_outside
from amortppl.errors import DataError

FOUR = dist.Categorical(probs=jnp.ones(4) / 4)


def task(use, groups=FOUR):
    """A model whose rows use the group's number as `use` says."""

    def model(g, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1).expand([4]).to_event(1))
        with numpyro.plate("row", g.shape[0]):
            numpyro.sample("y", dist.Normal(use(a, g), 1), obs=y)

    return ap.Task(model, {"g": groups}, rows=(4, 16))


ONE_BASED = dist.DiscreteUniform(1, 4)
USES = {
    "a[g]": (lambda a, g: a[g], FOUR, 0),
    "take": (lambda a, g: jnp.take(a, g, axis=0), FOUR, 0),
    "a[g - 1]": (lambda a, g: a[g - 1], ONE_BASED, 1),
    "a[-1 + g]": (lambda a, g: a[-1 + g], ONE_BASED, 1),
    "vmap": (lambda a, g: jax.vmap(lambda i: a[i])(g), FOUR, 0),
    "jit": (lambda a, g: jax.jit(lambda i: a[i])(g), FOUR, 0),
    "matrix": (lambda a, g: (a[:, None] * jnp.ones(2))[g].sum(-1), FOUR, 0),
}


@pytest.mark.parametrize("name", USES)
def test_an_index_beyond_the_groups_is_named(name):
    use, groups, first = USES[name]
    made = task(use, groups)
    good = first + np.array([0, 1, 2, 3])
    assert read(made, {"g": good, "y": np.zeros(4)}).rows == 4
    for wrong in (first - 1, first + 4, -3):
        with pytest.raises(DataError) as caught:
            read(made, {"g": np.where(good == first + 2, wrong, good), "y": np.zeros(4)})
        message = str(caught.value)
        assert f"'g' holds {wrong} at row 2" in message and f"({first} to {first + 3})" in message


def test_data_that_a_task_is_read_from_are_held_to_its_index():
    own = np.array([0, 1, 2, 4])
    made = task(lambda a, g: a[g], own)
    refuse_own_outside(made, {"g": np.minimum(own, 3)})
    with pytest.raises(DataError, match=r"'g' holds 4 at row 3.*number the groups from 0"):
        refuse_own_outside(made, {"g": own})


@pytest.mark.parametrize(
    "use",
    [
        lambda a, g: g * a[0],
        lambda a, g: a[jnp.clip(g, 0, 3)],
        lambda a, g: jnp.where(g == 2, a[0], a[1]),
        lambda a, g: jax.nn.one_hot(g, 4) @ a,
    ],
)
def test_what_is_no_index_may_be_anything(use):
    assert read(task(use), {"g": np.array([-1, 9, 2, 3]), "y": np.zeros(4)}).rows == 4


def test_a_model_that_counts_from_the_end_is_left_alone():
    made = task(lambda a, g: a[g], dist.DiscreteUniform(-2, 1))
    assert indices(made) == {}


def test_streams_and_new_rows_name_it_too():
    made = task(USES["a[g]"][0])
    frame = pd.DataFrame({"group": [0, 1, 2, 4], "y": np.zeros(4)})
    blocks = ap.batches(frame, 2, columns={"g": "group"}, shuffle=None).blocks(made)
    with pytest.raises(DataError, match=r"'g' \(column 'group'\) holds 4 at row 3; .*\(0 to 3\)"):
        list(blocks)
    with pytest.raises(DataError, match="holds 4 at row 3"):
        read(made, {"g": np.array([0, 1, 2, 4])}, observed=False)
