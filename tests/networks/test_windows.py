"""Windows are the convolution they stand for."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from amortppl.networks.windows import Windows


def test_the_same_as_convolution_and_maximum():
    net, image = Windows((8, 7), 3, jr.key(0)), jr.normal(jr.key(1), (8, 7))
    kernel = net.maps.T.reshape(3, 1, 3, 3)
    maps = jax.nn.relu(jax.lax.conv(image[None, None], kernel, (1, 1), "VALID")[0])
    pooled = jnp.moveaxis(maps[:, :, :4].reshape(3, 3, 2, 2, 2), 0, -1).max((1, 3))
    assert net.size == 18
    np.testing.assert_allclose(net(image.ravel()), pooled.ravel(), rtol=1e-5, atol=1e-6)
