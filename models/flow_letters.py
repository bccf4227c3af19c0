"""Generation by flow matching: letters as clouds of points, given example points of one.

A task is a letter of the Latin alphabet in one of four faces (DejaVu, which matplotlib holds),
points along its outline, turned, stretched and moved at random; rows are those of `flow_mixture`:

    at = (1 - t) noise + t point,    velocity = point - noise,    noise ~ N(0, I),  t ~ U(0, 1)

Trained on a to t; held out are u to z in the same faces. Lipman et al. 2023, "Flow matching for
generative modeling", arXiv 2210.02747.
"""

from functools import cache

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from numpyro.distributions import constraints

TASK = {
    "inputs": ["at", "t"],
    "observed": {"velocity": constraints.real_vector},
    "rows": (8, 160),
    "dims": {"at": ["axis"], "velocity": ["axis"]},
}

FACES = [("sans", "normal"), ("serif", "normal"), ("monospace", "normal"), ("sans", "bold")]

TRAINED, HELD_OUT = "abcdefghijklmnopqrst", "uvwxyz"


def episodes(key, rows):
    """A trained letter's rows: at (rows, 2), t (rows,), velocity (rows, 2)."""
    keys = jr.split(key)
    return bridge(keys[0], points(keys[1], rows, TRAINED))


def held_out(key, rows):
    """A held-out letter's rows: at (rows, 2), t (rows,), velocity (rows, 2)."""
    keys = jr.split(key)
    return bridge(keys[0], points(keys[1], rows, HELD_OUT))


def points(key, rows, letters):
    """Points of one of the letters, turned by up to 0.3 radians and stretched by up to a fifth."""
    keys = jr.split(key, 6)
    clouds = jnp.asarray(outlines(letters))
    cloud = clouds[jr.randint(keys[0], (), 0, len(clouds))]
    chosen = cloud[jr.randint(keys[1], (rows,), 0, cloud.shape[0])]
    angle = jr.uniform(keys[2], minval=-0.3, maxval=0.3)
    turn = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
    stretch = jr.uniform(keys[3], (2,), minval=0.8, maxval=1.2)
    jitter = 0.03 * jr.normal(keys[4], (rows, 2))
    return (chosen * stretch) @ turn.T + 0.2 * jr.normal(keys[5], (2,)) + jitter


def bridge(key, points):
    """Places between noise and points (N, 2) at random times, and the velocities there."""
    keys = jr.split(key)
    noise, t = jr.normal(keys[0], points.shape), jr.uniform(keys[1], points.shape[:1])
    at = (1 - t)[:, None] * noise + t[:, None] * points
    return {"at": at, "t": t, "velocity": points - noise}


@cache
def outlines(letters, dots=400):
    """Outlines of every letter in every face: (letters * faces, dots, 2), centred, sd 1 along y."""
    return np.stack([_outline(letter, face, dots) for letter in letters for face in FACES])


def _outline(letter, face, dots):
    """Points equally spaced along the outline of a glyph, (dots, 2)."""
    try:
        from matplotlib.font_manager import FontProperties
        from matplotlib.textpath import TextPath
    except ImportError as error:
        raise ImportError(
            "flow_letters: the letters are those of matplotlib's fonts, and it is not installed: "
            "pip install matplotlib"
        ) from error
    family, weight = face
    font = FontProperties(family=f"DejaVu {FAMILIES[family]}", weight=weight)
    polygons = TextPath((0, 0), letter, size=10, prop=font).to_polygons(closed_only=False)
    starts, ends = (np.concatenate([p[a:b] for p in polygons]) for a, b in ((0, -1), (1, None)))
    lengths = np.linalg.norm(ends - starts, axis=1)
    along = (np.arange(dots) + 0.5) / dots * lengths.sum()
    edge = np.minimum(np.searchsorted(np.cumsum(lengths), along), len(lengths) - 1)
    part = (along - (np.cumsum(lengths) - lengths)[edge]) / np.maximum(lengths[edge], 1e-9)
    spread = starts[edge] + part[:, None] * (ends - starts)[edge]
    return ((spread - spread.mean(0)) / spread[:, 1].std()).astype(np.float32)


FAMILIES = {"sans": "Sans", "serif": "Serif", "monospace": "Sans Mono"}
