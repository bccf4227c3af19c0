"""Classification of images on fixed features: three classes an episode, and shifts to test on.

x holds the first eight principal components of 8 x 8 images of the digits 0 to 4, each scaled to
unit variance; y is the class, 0 to 2, of three at random. Trained on are the digits 0 to 4; shifts
are `other_digits`, 5 to 9, and `fashion`, Fashion-MNIST averaged over 3 x 3 pixels and projected by
the digits' components. `resampled` draws features alone, for programs that make their own labels.

Alpaydin and Kaynak 1998, "Optical recognition of handwritten digits", UCI, its test part, which
scikit-learn holds. Fashion-MNIST: Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747; its files are
read from the folder that the environment variable FASHION_MNIST names, or from where Debian's
package dataset-fashion-mnist puts them.
"""

import gzip
import os
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from numpyro.distributions import constraints

WAYS, FEATURES = 3, 8

DEBIAN = "/usr/share/datasets/fashion-mnist"

TASK = {
    "inputs": ["x"],
    "observed": {"y": constraints.integer_interval(0, WAYS - 1)},
    "rows": (8, 320),
    "dims": {"x": ["feature"]},
}


def episodes(key, rows):
    """Three of the digits 0 to 4 with their labels: x (rows, 8), y (rows,)."""
    return _draw(key, rows, *_digits(range(5)))


def other_digits(key, rows):
    """Three of the digits 5 to 9 with their labels: x (rows, 8), y (rows,)."""
    return _draw(key, rows, *_digits(range(5, 10)))


def fashion(key, rows):
    """Three classes of Fashion-MNIST with their labels: x (rows, 8), y (rows,)."""
    return _draw(key, rows, *_fashion())


def _draw(key, rows, features, fewest):
    """Rows of three classes at random; features by class (C, M, 8), M of them `fewest`."""
    keys = jr.split(key, 3)
    chosen = jr.choice(keys[0], len(features), (WAYS,), replace=False)
    y = jr.randint(keys[1], (rows,), 0, WAYS)
    place = jr.randint(keys[2], (rows,), 0, fewest)
    return {"x": jnp.asarray(features)[chosen[y], place], "y": y}


@cache
def _components():
    """Mean (64,) and scaled principal components (64, 8) of the digits 0 to 4."""
    images, labels = _images()
    pixels = images[labels < 5]
    mean = pixels.mean(0)
    _, lengths, axes = np.linalg.svd(pixels - mean, full_matrices=False)
    scaled = axes[:FEATURES].T * np.sqrt(len(pixels)) / lengths[:FEATURES]
    return mean, scaled.astype(np.float32)


def features_of(pixels):
    """Features (M, 8) of images (M, 64) with grey levels from 0 to 1."""
    mean, axes = _components()
    return (pixels - mean) @ axes


@cache
def _images():
    """The digits of scikit-learn: pixels (M, 64) from 0 to 1, and classes (M,)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "image_features: the digits come with scikit-learn, which is not installed: pip "
            "install scikit-learn"
        ) from error
    data = load_digits()
    return data.images.reshape(-1, 64).astype(np.float32) / 16, data.target


@cache
def _digits(classes):
    images, labels = _images()
    return _by_class(features_of(images), labels, classes)


@cache
def _fashion():
    folder = Path(os.environ.get("FASHION_MNIST", DEBIAN))
    try:
        raw = [
            gzip.decompress((folder / f"t10k-{part}-ubyte.gz").read_bytes())
            for part in ("images-idx3", "labels-idx1")
        ]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"image_features: {error.filename} is not there; Fashion-MNIST is read from the "
            "folder that the environment variable FASHION_MNIST names, or from Debian's package "
            "dataset-fashion-mnist"
        ) from error
    grey = np.frombuffer(raw[0], np.uint8, offset=16).reshape(-1, 28, 28)[:, 2:26, 2:26]
    small = grey.reshape(-1, 8, 3, 8, 3).mean((2, 4)).reshape(-1, 64) / 255.0
    labels = np.frombuffer(raw[1], np.uint8, offset=8)
    return _by_class(features_of(small.astype(np.float32)), labels, range(10))


def _by_class(features, labels, classes):
    """Features by class, (C, M, 8), and M, the images of the smallest class."""
    fewest = min(np.sum(labels == c) for c in classes)
    return np.stack([features[labels == c][:fewest] for c in classes]), int(fewest)


def resampled(key, rows):
    """Features of digits 0 to 4 at random, (rows, 8)."""
    images, labels = _images()
    pool = jnp.asarray(features_of(images[labels < 5]))
    return pool[jr.randint(key, (rows,), 0, len(pool))]
