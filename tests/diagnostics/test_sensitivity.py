"""Power-scaling and LOO from the draws of a guide."""

import arviz as az
import numpy as np
import pytest

from amortppl.diagnostics.sensitivity import sensitivity, with_prior
from amortppl.errors import DataError


def test_prior_group_is_the_models_density(line_guide, line_data):
    post = line_guide.infer(line_data, draws=200)
    w = post.posterior["w"].values
    expected = (-0.5 * w**2 - 0.5 * np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(
        with_prior(line_guide, post)["log_prior"]["prior"].values, expected, atol=1e-3
    )


@pytest.mark.slow
def test_few_rows_lean_on_the_prior_more_than_many(mean_guide):
    """mu ~ N(0, 2^2): four rows of mean 4 pull against the prior, 32 rows hardly."""
    rng = np.random.default_rng(0)
    few, many = (mean_guide.infer({"y": 4 + rng.standard_normal(n)}, draws=4000) for n in (4, 32))
    assert (
        sensitivity(mean_guide, few)["prior"].iloc[0]
        > 2 * sensitivity(mean_guide, many)["prior"].iloc[0]
    )
    assert np.isfinite(az.loo(many).elpd)


def test_needs_one_dataset_and_its_likelihood(line_guide, line_data):
    with pytest.raises(DataError, match="one dataset"):
        sensitivity(line_guide, line_guide.infer([line_data] * 2, draws=50))
    with pytest.raises(DataError, match="log_likelihood=True"):
        sensitivity(line_guide, line_guide.infer(line_data, draws=50, log_likelihood=False))
