"""Episodes of digits: balanced, without repetition, and held out from training."""

import jax
import jax.random as jr
import numpy as np
import pytest
from amortppl.models import digits

import amortppl as ap


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("digits", digits.images((0, 1, 2, 3, 4), True)),
        ("digits:held_out", digits.images((5, 6, 7, 8, 9))),
    ],
)
def test_first_rows_hold_each_class_equally_often_and_no_image_twice(name, classes):
    task = ap.model(name)
    draw = jax.jit(jax.vmap(lambda k: task.simulate(k, 41).data))(jr.split(jr.key(0), 50))
    x, y = (np.asarray(draw[n]) for n in ("x", "y"))
    class_of = {image.tobytes(): c for c, images in enumerate(classes) for image in images}
    for images, labels in zip(x, y, strict=True):
        assert (np.sort(labels[:40].reshape(8, 5)) == np.arange(5)).all()
        assert len({i.tobytes() for i in images}) == 41
        pairs = {
            (label, class_of[image.tobytes()]) for label, image in zip(labels, images, strict=True)
        }
        assert len(pairs) == 5
    assert len({tuple(labels[:5]) for labels in y}) > 30


def test_no_class_is_trained_on_and_held_out():
    trained, held = digits.images((0, 1, 2, 3, 4), True), digits.images((5, 6, 7, 8, 9))
    assert trained.shape == (40, 174, 64) and held.shape == (5, 174, 64)
    assert not {i.tobytes() for i in trained.reshape(-1, 64)} & {
        i.tobytes() for i in held.reshape(-1, 64)
    }


def test_more_images_than_there_are_is_refused():
    with pytest.raises(ValueError, match="needs 175 images of a class; there are 174"):
        digits.held_out(jr.key(0), 871)
