"""Handwritten digits, few-shot: five classes an episode, tested on digits that were not trained on.

A row is an image x (64 grey levels of 8 x 8 pixels, 0 to 1) and the class y in 0..4 that its digit
has in this episode. The first 5k rows hold k images of each class, and no image comes twice.
Trained on the digits 0 to 4, with rotations by 90 degrees and reflections as further classes (as
rotations are in Santoro et al. 2016, "Meta-learning with memory-augmented neural networks"), 40 in
all; held out are the digits 5 to 9 as they were written. Data: Alpaydin and Kaynak 1998, "Optical
recognition of handwritten digits", UCI, its test part, which scikit-learn holds.
"""

from functools import cache

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from numpyro.distributions import constraints

WAYS = 5
"""Classes in an episode."""

TASK = {
    "inputs": ["x"],
    "observed": {"y": constraints.integer_interval(0, WAYS - 1)},
    "rows": (WAYS, 5 * WAYS),
    "dims": {"x": ["pixel"]},
}


def episodes(key, rows):
    """An episode of five of the 40 classes made from the digits 0 to 4: x (rows, 64), y (rows,)."""
    return drawn(key, rows, images(tuple(range(5)), symmetric=True))


def held_out(key, rows):
    """An episode of the digits 5 to 9, which were not trained on: x (rows, 64), y (rows,)."""
    return drawn(key, rows, images(tuple(range(5, 10))))


def drawn(key, rows, classes):
    """Five classes at random out of C, labelled in random order; each five rows hold one image of
    each.

    Args:
        key: of the draw.
        rows: images in the episode, five times those of a class at most.
        classes: images by class, (C, images of a class, 64).
    """
    kept, shots = (
        jr.choice(jr.fold_in(key, 0), len(classes), (WAYS,), replace=False),
        -(-rows // WAYS),
    )
    if shots > classes.shape[1]:
        raise ValueError(
            f"an episode of {rows} rows needs {shots} images of a class; there are "
            f"{classes.shape[1]}"
        )
    keys = jr.split(jr.fold_in(key, 1), (2, max(WAYS, shots)))
    order = jax.vmap(lambda k: jr.permutation(k, WAYS))(keys[0, :shots]).ravel()[:rows]
    picked = jax.vmap(lambda k: jr.permutation(k, classes.shape[1])[:shots])(keys[1, :WAYS])
    image = picked[order, jnp.repeat(jnp.arange(shots), WAYS)[:rows]]
    return {"x": jnp.asarray(classes)[kept[order], image], "y": order}


@cache
def images(digits, symmetric=False):
    """Grey levels by class (C, M, 64), as many of each; `symmetric`: eight classes a digit, by
    turns and reflection.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "digits: the data come with scikit-learn, which is not installed: pip install "
            "scikit-learn"
        ) from error
    found = load_digits()
    squares, fewest = found.images.astype(np.float32) / 16, np.bincount(found.target).min()
    classes = np.stack([squares[found.target == d][:fewest] for d in digits])
    if symmetric:
        turned = np.concatenate([np.rot90(classes, k, (2, 3)) for k in range(4)])
        classes = np.concatenate([turned, turned[..., ::-1]])
    return classes.reshape(*classes.shape[:2], -1)
