"""What a guide says of new rows and of the task latent, by its regime."""

import numpy as np
import pytest

import amortppl as ap
from amortppl.errors import DataError, GuideError
from conjugate import untrained
from spoiled import spoiled


@pytest.fixture(scope="module")
def implicit(line_task):
    return untrained(
        line_task, ap.method("in_context", width=8, layers=1, heads=1, keys=4, values=2, hidden=8)
    )


@pytest.fixture(scope="module")
def explicit(line_task):
    return untrained(line_task, ap.method("neural_process", latent=3, hidden=8))


def test_an_implicit_method_says_to_use_predict(implicit, line_data):
    with pytest.raises(GuideError, match=r"implicit regime.*guide\.predict"):
        implicit.infer(line_data)
    with pytest.raises(GuideError, match="no posterior over the model's latents"):
        implicit.posterior(implicit.init()).sample(None, 1)


def test_an_explicit_method_shows_z(explicit, line_data):
    one = explicit.infer(line_data, draws=40)
    assert one["posterior"]["z"].dims == ("chain", "draw", "z_dim") and one["posterior"][
        "z"
    ].shape == (1, 40, 3)
    many = explicit.infer([line_data, line_data], draws=40)
    assert many["posterior"]["z"].shape == (2, 1, 40, 3)
    assert float(np.std(one["posterior"]["z"])) > 0


def test_z_of_a_stream_is_that_of_its_rows(explicit, line_data):
    """Factors add up, so that the same noise gives the same draws."""
    whole = explicit.infer(line_data, draws=20, seed=3)["posterior"]["z"]
    streamed = explicit.infer(ap.batches(line_data, size=5), draws=20, seed=3)["posterior"]["z"]
    np.testing.assert_allclose(streamed, whole, rtol=1e-3, atol=1e-3)


def test_nothing_known_is_the_prior_predictive_of_the_model(line_guide):
    """At x = (1, 0): y ~ N(0, 2). 4,000 draws: mean within 5 standard errors, sd within 6%."""
    drawn = line_guide.predict(None, {"x": np.array([[1.0, 0.0]])}, draws=4000)["predictions"][
        "y"
    ].values
    assert abs(drawn.mean()) < 5 * 2**0.5 / 4000**0.5 and abs(drawn.std() / 2**0.5 - 1) < 0.06


@pytest.mark.parametrize("name", ["implicit", "line_guide"])
def test_a_query_with_other_columns_is_refused(name, line_data, request):
    guide = request.getfixturevalue(name)
    with pytest.raises(DataError, match="'x' should have shape"):
        guide.predict(line_data, {"x": np.zeros((3, 5))})
    with pytest.raises(DataError, match="draws"):
        guide.predict(line_data, {"x": np.zeros((3, 2))}, draws=0)


def test_predictions_do_not_depend_on_what_the_queries_observations_would_be(implicit, line_data):
    query = {"x": line_data["x"][:3], "y": line_data["y"][:3]}
    alone = [
        implicit.log_predictive(line_data, {n: v[i : i + 1] for n, v in query.items()})[0]
        for i in range(3)
    ]
    np.testing.assert_allclose(
        implicit.log_predictive(line_data, query), alone, rtol=1e-4, atol=1e-5
    )


def test_predictions_say_what_their_draws_are_worth(mean_task):
    """Laplace is exact here. Draws thirty times too wide, and a state, have a word."""
    sound, data = ap.train(mean_task, "laplace", progress=False), {"y": np.linspace(-1, 1, 8)}

    def told(guide, given):
        return guide.predict(given, at=2, draws=300).attrs["warnings"]

    assert told(sound, data) == "[]"
    assert "rest on: not reliable" in told(spoiled(sound, spread=30.0), data)
    assert "rest on: not checked" in told(sound, sound.step(sound.init(), data))
