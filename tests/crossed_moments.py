"""Crossed effects of subjects and items: data, and exact moments of `models/crossed.py`.

They share nothing with the engine: a grid over the three scales in float64, all else in closed form
given these.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

EFFECTS = {"of_subject": "subject", "of_item": "item"}


def crossed_data(subjects, items, rows, seed=0, outcome="normal"):
    """Rows of a model with a covariate, a subject and an item each; every one of these occurs."""
    rng = np.random.default_rng(seed)
    subject = np.concatenate([np.arange(subjects), rng.integers(0, subjects, rows - subjects)])
    item = np.concatenate([np.arange(items), rng.integers(0, items, rows - items)])
    rng.shuffle(item)
    x = rng.normal(size=rows).astype(np.float32)
    mean = 0.5 + 0.3 * x + 0.6 * rng.normal(size=subjects)[subject]
    mean = mean + 0.4 * rng.normal(size=items)[item]
    noisy = mean + 0.8 * rng.normal(size=rows)
    yes = rng.uniform(size=rows) < 1 / (1 + np.exp(-mean))
    y = noisy.astype(np.float32) if outcome == "normal" else yes.astype(np.int32)
    return {"x": x, "subject": subject, "item": item, "y": y}


class Exact:
    """Exact moments of `models/crossed.py`: means and sds of all latents, by name.

    With scales t = log(by_subject, by_item, noise), u = (level, slope, items, subjects) is Gaussian
    given t, and subjects are integrated out first, each by itself. The grid lies in the coordinates
    of a Gaussian at the mode of p(t | y): `points` along each, `step` sds apart. Five, 1.4 apart,
    are good for a fifth of a percent of a Gaussian's sd. Products of subjects and items are sparse.
    """

    SCALES = ("by_subject", "by_item", "noise")

    def __init__(self, data, points=9, step=0.95):
        self.points, self.step = points, step
        count = {n: int(data[n].max()) + 1 for n in EFFECTS.values()}
        x, y = data["x"].astype(float), data["y"].astype(float)
        self.subjects, self.items, self.rows = count["subject"], count["item"], len(y)
        subject, of_row = data["subject"], np.arange(self.rows)
        entries = np.concatenate([np.ones(self.rows), x, np.ones(self.rows)])
        columns = np.concatenate([0 * of_row, 0 * of_row + 1, 2 + data["item"]])
        design = csr_matrix((entries, (np.tile(of_row, 3), columns)), (self.rows, 2 + self.items))
        self.gram, self.right = (design.T @ design).toarray(), design.T @ y
        self.square = float(y @ y)
        self.counts = np.bincount(subject, minlength=self.subjects).astype(float)
        self.sums = np.bincount(subject, y, self.subjects)
        of_subject = csr_matrix((np.ones(self.rows), (subject, of_row)))
        self.across = (of_subject @ design).tocsr()
        self.parts = {"level": 1, "slope": 1, "of_item": self.items, "of_subject": self.subjects}

    def at(self, t):
        """log p(t, y), and mean and variance of u given t."""
        by_subject, by_item, noise = np.exp(t)
        prior = np.concatenate([[1.0, 4.0], np.full(self.items, by_item**-2)])
        of_subject = self.counts / noise**2 + by_subject**-2
        across = self.across / noise**2
        given = across.multiply(1 / of_subject[:, None]).tocsr()
        matrix = self.gram / noise**2 + np.diag(prior) - (across.T @ given).toarray()
        right = self.right / noise**2 - given.T @ (self.sums / noise**2)
        inverse = np.linalg.inv(matrix)
        inner = inverse @ right
        outer = self.sums / noise**2 / of_subject - given @ inner
        variance = np.concatenate(
            [
                np.diag(inverse),
                1 / of_subject + np.asarray(given.multiply(given @ inverse).sum(1))[:, 0],
            ]
        )
        log_det = np.linalg.slogdet(matrix)[1] + np.log(of_subject).sum()
        fit = (
            inner @ self.right / noise**2 + outer @ self.sums / noise**2 - self.square / noise**2
        ) / 2
        log_prior = np.log(prior).sum() / 2 - self.subjects * np.log(by_subject)
        scales = -(by_subject**2 + by_item**2) / (2 * 0.7**2) - noise**2 / 2 + t.sum()
        density = fit + log_prior - log_det / 2 - self.rows * np.log(noise) + scales
        return density, np.concatenate([inner, outer]), variance

    def moments(self):
        """Means and sds, (1,) or (K,) by name."""
        start = minimize(lambda t: -self.at(t)[0], np.log([0.5, 0.5, 0.8]), method="Nelder-Mead",
                         options={"xatol": 1e-3, "fatol": 1e-3})  # fmt: skip
        mode, step = start.x, 0.05
        bend = np.zeros((3, 3))
        for i in range(3):
            for j in range(3):
                a, b = step * np.eye(3)[i], step * np.eye(3)[j]
                f = lambda v: self.at(mode + v)[0]  # noqa: E731
                bend[i, j] = -(f(a + b) - f(a - b) - f(b - a) + f(-a - b)) / (4 * step**2)
        axes = np.linalg.cholesky(np.linalg.inv(bend))
        along = self.step * (np.arange(self.points) - self.points // 2)
        grid = np.stack(np.meshgrid(along, along, along, indexing="ij"), -1).reshape(-1, 3)
        points = mode + grid @ axes.T
        each = [self.at(t) for t in points]
        weights = np.exp(np.array([e[0] for e in each]) - max(e[0] for e in each))
        weights /= weights.sum()
        means = weights @ np.array([e[1] for e in each])
        second = weights @ np.array([e[2] + e[1] ** 2 for e in each])
        scale = weights @ np.exp(points)
        spread = np.sqrt(weights @ np.exp(2 * points) - scale**2)
        sd = np.sqrt(second - means**2)
        ends = np.cumsum([0, *self.parts.values()])
        parts = zip(self.parts, ends, ends[1:], strict=False)
        moments = {n: (means[a:b], sd[a:b]) for n, a, b in parts}
        return moments | {n: (scale[[i]], spread[[i]]) for i, n in enumerate(self.SCALES)}


def compare(post, truth):
    """Errors of all means in sds, and ratios of sds."""
    errors, ratios = [], []
    for name, (mean, sd) in truth.items():
        draws = np.asarray(post[name]).reshape(-1, *np.asarray(post[name]).shape[2:])
        draws = draws.reshape(len(draws), -1)
        errors += [*(np.abs(draws.mean(0) - mean) / sd)]
        ratios += [*(draws.std(0) / sd)]
    return np.array(errors), np.array(ratios)


def describe(errors, ratios):
    """The figures of a table's line."""
    ends = np.quantile(ratios, [0, 0.5, 1])
    return (f"means off by {np.median(errors):.3f} sd in the median, {errors.max():.3f} at worst; "
            f"sd ratios {ends[0]:.2f} to {ends[2]:.2f}, median {ends[1]:.3f}")  # fmt: skip
