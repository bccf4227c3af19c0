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
    expected = pooled.ravel() * np.sqrt(18) / np.linalg.norm(pooled)
    np.testing.assert_allclose(net(image.ravel()), expected, rtol=1e-5, atol=1e-6)


def test_every_image_has_the_same_length():
    net, images = Windows((8, 8), 4, jr.key(0), 2.0), jnp.abs(jr.normal(jr.key(1), (5, 64)))
    np.testing.assert_allclose(jnp.linalg.norm(jax.vmap(net)(images), axis=1), 2.0, rtol=1e-5)
    np.testing.assert_allclose(net(3 * images[0]), net(images[0]), rtol=1e-4)


def test_an_even_image_has_no_features_and_a_gradient():
    net, even = Windows((8, 8), 4, jr.key(0)), jnp.full(64, 0.5)
    np.testing.assert_allclose(net(even), 0.0, atol=2e-3)
    assert bool(jnp.all(jnp.isfinite(jax.jacobian(net)(even))))
