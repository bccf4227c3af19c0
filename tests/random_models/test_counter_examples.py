"""Random models that were once read wrongly or refused without a clear error, each of its kind."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import amortppl as ap
from amortppl.errors import ModelError
from amortppl.runtime.numpy_evaluation import evaluate
from random_models.case import Case
from random_models.description import Observation, RandomModel
from random_models.property import judge
from random_models.render import build

EQUAL = {
    # A whole number that became a float was subtracted and divided as a whole number.
    "support that moves": RandomModel(parts=("moving_support", "non_centred", "gaussian")),
    # funsor drops a plate of one row, and a mini-batch of one row has no other. The check of
    # enumeration left the latents of rows to chance.
    # What such a model returned was taken for its observation.
    "a label and a latent a row": RandomModel(parts=("label", "local"), extras=("returned",)),
    # Right, but the judge gave data the name of the argument where `condition` feeds a site of
    # another, and integrated rows without such data, and each as if it were the only one.
    "site of another name": RandomModel(
        observations=(Observation(site="level", family="weibull", scale="half", feed="condition"),)
    ),
    "masked rows with a latent": RandomModel(
        parts=("local_gamma",),
        observations=(Observation(family="poisson", mask="distribution", feed="condition"),),
    ),
    "rows with a latent and a place": RandomModel(parts=("local", "position"), rows="fixed"),
    # A raw traceback: no factor knows a label whose whole density is masked.
    "a label under a mask": RandomModel(
        prior="laplace",
        parts=("label",),
        observations=(Observation(mask="handler"),),
        outer=("mask_all",),
    ),
}
REFUSED = {
    # Raw tracebacks.
    "scale of other axes": (
        RandomModel(observations=(Observation(frame="nested", scale="by_row"),)),
        "log density of the site 'y' .* scale of shape",
    ),
    "rows not first": (
        RandomModel(
            observations=(Observation(family="binomial", frame="wide", mask="distribution"),)
        ),
        "'y' has shape .4, 7. at 7 rows, and rows must be its first axis",
    ),
    "a site a row": (RandomModel(parts=("row_loop",)), "'r_7', 'r_8', 'r_9' is there with 7 or 11"),
    "a mask of other axes": (
        RandomModel(
            observations=(Observation(family="left_censored", frame="tied", mask="distribution"),)
        ),
        "cannot evaluate the model's log density at 7 or 11",
    ),
    # Silent: engine and plain model drew the same hidden numbers.
    "hidden latent": (RandomModel(outer=("block",)), "site 'y' .* hides one"),
    # Silent: simulations in which nothing varies, or of another model.
    "latent with its value": (
        RandomModel(outer=("substitute",)),
        "'a' has the same value in every",
    ),
    "model with its key": (RandomModel(outer=("seed",)), "'a', 's' has the same value in every"),
    "other model once given": (
        RandomModel(extras=("only_given_predictor",)),
        "site 'y' is .* once its simulated observations are given",
    ),
    # Errors that named nothing, or not the cause.
    "enumerated, but fed by site": (
        RandomModel(parts=("label",), observations=(Observation(feed="condition"),)),
        "one argument with default None is the observation, and here the model has 0",
    ),
    "no sampler": (
        RandomModel(parts=("improper",)),
        "site 'im' ~ ImproperUniform cannot be simulated",
    ),
}


@pytest.mark.parametrize("name", EQUAL)
def test_is_read_as_it_is(name):
    assert judge(EQUAL[name]).kind == "equal"


def test_scaled_rows_with_a_latent_are_as_in_closed_form():
    """N(y | a + e, s)^w with e ~ N(0, te) is, e integrated out, a multiple of a normal density."""
    observation = Observation(scale="by_row", feed="condition")
    described = RandomModel(parts=("local",), observations=(observation,))
    module = build(described)
    case = Case(ap.Task(module.model, **module.task()), module, described, 5, 0)
    a, s, te = (float(case.latents[n]) for n in ("a", "s", "te"))
    y, w = case.data["y"].astype(float), case.data["w"].astype(float)
    multiple = (1 - w) / 2 * np.log(2 * np.pi * s**2) - np.log(w) / 2
    exact = norm.logpdf(y, a, np.sqrt(te**2 + s**2 / w)) + multiple
    np.testing.assert_allclose(case.engine(case.data)[1], exact, atol=1e-5)
    assert abs(case.truth_of_rows(case.data)[1] - exact.sum()) < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_clearly(name):
    described, message = REFUSED[name]
    module = build(described)
    with pytest.raises(ModelError, match=message):
        ap.Task(module.model, **module.task())


@pytest.mark.slow
@pytest.mark.parametrize(
    "observation",
    [
        Observation(family="one_hot"),
        # Right, but Pyro could not draw what the judge compares with.
        Observation(family="mixture", frame="bare", scale="by_row"),
    ],
)
def test_observations_of_pyro(observation):
    pytest.importorskip("pyro")
    described = RandomModel(language="pyro", observations=(observation,))
    assert judge(described).kind == "equal"


def test_whole_numbers_made_floats_divide_as_floats():
    assert evaluate(lambda i: i.astype(jnp.float32) / 2, jnp.asarray(3)) == 1.5
