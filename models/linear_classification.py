"""Linear classification: a softmax regression on features, three classes.

    w_c ~ N(0, I),    y_i ~ Categorical(softmax_c(x_i . w_c)),  c in 0..2,  x_i in R^8

`image_features.resampled` as the input makes it a program over images. Bishop 2006, "Pattern
recognition and machine learning", section 4.3.4.
"""

import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"x": dist.Normal(0, 1).expand([8])},
    "rows": (8, 320),
    "dims": {"weights": ["class", "feature"], "x": ["feature"]},
}


def model(x, y=None):
    """Features x (N, D) in, classes y (N,) in 0..2 out."""
    weights = numpyro.sample("weights", dist.Normal(0, 1).expand([3, x.shape[-1]]).to_event(2))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Categorical(logits=x @ weights.T), obs=y)
