"""Rooms in schools, unequally many and of unequal size: `ap.fit` beside exact moments.

`uv run pytest tests/benchmarks/test_nested.py -n0 -s`, with `SCHOOLS=8` for fewer. The truth is a grid
over the three scales in float64, all else in closed form given these.
"""

import os
import time

import numpy as np
import numpyro
import numpyro.distributions as dist

import amortppl as ap
from crossed_moments import Exact, compare, describe

SCHOOLS, DRAWS = int(os.environ.get("SCHOOLS", "20")), int(os.environ.get("DRAWS", "1000"))


def nested(x, room, school, n_room, n_school, y=None):
    """A level, a slope, schools' effects, and rooms' effects around that of their school."""
    level = numpyro.sample("level", dist.Normal(0, 1))
    slope = numpyro.sample("slope", dist.Normal(0, 0.5))
    by_school = numpyro.sample("by_school", dist.HalfNormal(0.7))
    by_room = numpyro.sample("by_room", dist.HalfNormal(0.7))
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    with numpyro.plate("schools", n_school):
        of_school = numpyro.sample("of_school", dist.Normal(0, by_school))
    with numpyro.plate("rooms", n_room):
        of_room = numpyro.sample("of_room", dist.Normal(of_school[school], by_room))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(level + slope * x + of_room[room], noise), obs=y)


def unequal_rooms(schools, seed=0):
    """5 to 15 rooms a school, 1 to 15 rows a room."""
    rng = np.random.default_rng(seed)
    of_room = np.repeat(np.arange(schools), rng.integers(5, 16, schools))
    room = np.repeat(np.arange(len(of_room)), rng.integers(1, 16, len(of_room)))
    x = rng.normal(size=len(room)).astype(np.float32)
    effect = 0.6 * rng.normal(size=schools)[of_room] + 0.4 * rng.normal(size=len(of_room))
    y = 0.5 + 0.3 * x + effect[room] + 0.8 * rng.normal(size=len(room))
    return {"x": x, "room": room, "school": of_room[room], "y": y.astype(np.float32)}


class ExactNested(Exact):
    """With scales t = log(by_school, by_room, noise), u = (level, slope, schools, rooms) is
    Gaussian given t."""

    SCALES = ("by_school", "by_room", "noise")

    def __init__(self, data):
        rooms, schools = data["room"].max() + 1, data["school"].max() + 1
        self.parts = {"level": 1, "slope": 1, "of_school": schools, "of_room": rooms}
        self.y, self.rows = data["y"].astype(float), len(data["y"])
        design = np.zeros((self.rows, 2 + schools + rooms))
        design[:, 0], design[:, 1] = 1.0, data["x"]
        design[np.arange(self.rows), 2 + schools + data["room"]] = 1.0
        self.gram, self.right = design.T @ design, design.T @ self.y
        self.schools, self.rooms = np.zeros(design.shape[1]), np.zeros((rooms, design.shape[1]))
        self.schools[2 : 2 + schools] = 1.0
        self.rooms[data["room"], 2 + data["school"]] = -1.0
        self.rooms[:, 2 + schools :] = np.eye(rooms)
        self.around = self.rooms.T @ self.rooms

    def at(self, t):
        """log p(t, y), and mean and variance of u given t."""
        by_school, by_room, noise = np.exp(t)
        matrix = self.gram / noise**2 + self.around / by_room**2
        matrix += np.diag(self.schools / by_school**2 + np.eye(len(self.schools))[0])
        matrix[1, 1] += 4.0
        inverse = np.linalg.inv(matrix)
        mean = inverse @ self.right / noise**2
        fit = (mean @ self.right - self.y @ self.y) / (2 * noise**2) - self.rows * np.log(noise)
        volume = self.schools.sum() * t[0] + len(self.rooms) * t[1]
        volume += np.linalg.slogdet(matrix)[1] / 2
        scales = -(by_school**2 + by_room**2) / (2 * 0.7**2) - noise**2 / 2 + t.sum()
        return fit - volume + scales, mean, np.diag(inverse)


def test_unequal_rooms_beside_exact_moments(say):
    """1,000 draws: errors of some 0.1 sd at worst of 200 latents by chance."""
    data = unequal_rooms(SCHOOLS)
    begin = time.process_time()
    post = ap.fit(nested, data, draws=DRAWS, by_group={"room": ["school"]})
    spent = time.process_time() - begin
    stats, truth = post["sample_stats"], ExactNested(data).moments()
    errors, ratios = compare(post["posterior"], truth)
    say(f"{SCHOOLS} schools, {data['room'].max() + 1} rooms, {len(data['y'])} rows: "
        f"{stats['source'].values} k-hat {float(stats['khat'].values):.2f}, reliable "
        f"{bool(stats['reliable'].values)}, {spent:.1f} CPU s; {describe(errors, ratios)}")  # fmt: skip
    assert errors.max() < 0.3
