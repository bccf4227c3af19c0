"""The exact posterior of a regression with normal errors, by quadrature in float64."""

import numpy as np
from scipy import stats


def regression_posterior(x, y, prior_mean, prior_sd, rate):
    """Moments of a regression's coefficients (intercept first) by quadrature over log sigma.

    y ~ N(X b, sigma^2), b ~ N(m, diag(s^2)), sigma ~ Exponential(rate); float64.
    """
    grid = np.linspace(np.log(y.std()) - 4, np.log(y.std()) + 3, 400)
    prior = np.diag(prior_sd**-2.0)
    heights, means, seconds = [], [], []
    for sigma in np.exp(grid):
        precision = prior + x.T @ x / sigma**2
        covariance = np.linalg.inv(precision)
        mean = covariance @ (prior @ prior_mean + x.T @ y / sigma**2)
        marginal = stats.multivariate_normal(
            x @ prior_mean, x @ np.diag(prior_sd**2) @ x.T + sigma**2 * np.eye(len(y))
        )
        heights.append(marginal.logpdf(y) - rate * sigma + np.log(sigma))
        means.append(mean)
        seconds.append(covariance + np.outer(mean, mean))
    weights = np.exp(np.array(heights) - max(heights))
    weights /= weights.sum()
    mean = np.tensordot(weights, np.array(means), 1)
    return mean, np.tensordot(weights, np.array(seconds), 1) - np.outer(mean, mean)
