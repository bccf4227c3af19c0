"""Is a guide calibrated over the datasets that its model simulates?

Simulation-based calibration, coverage, z-scores, contraction and recovery.

Talts, Betancourt, Simpson, Vehtari and Gelman 2018, arXiv 1804.06788; Modrák et al. 2023,
"Simulation-based calibration checking for Bayesian computation: the choice of test quantities
shapes sensitivity", Bayesian Analysis; Lemos, Coogan, Hezaveh and Perreault-Levasseur 2023,
"Sampling-based accuracy testing of posterior estimators" (TARP); Schad, Betancourt and Vasishth
2021 (z-scores and contraction); Säilynoja et al. 2025, posterior SBC.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from amortppl.diagnostics.sbc import Measurements, measure
from amortppl.diagnostics.uniformity import holm, p_values
from amortppl.training.trained import TrainedMethod

LATENTS, REGIONS, JOINT_LEVEL = 0.03, 0.01, 0.01
"""How often a calibrated guide fails: for its latents, for its regions, for all latents together.

Their sum, 5%, bounds how often it fails at all."""

WIDE = 3.0
"""A posterior whose sd is above so many sds of the prior has draws far out."""

SHARES = (0.5, 0.9)
"""Probabilities of the equal-tailed intervals whose coverage is in the table."""


@dataclass(frozen=True)
class Calibration:
    """The calibration of a guide, from simulated datasets.

    Attributes:
        name: the model's name.
        labels: a label for each of P latent entries, on the unconstrained scale.
        measurements: what was measured on each of T datasets.
        draws: draws from the guide for each dataset.
        around: whether the datasets lie around an observed one (posterior SBC).
        inference: what was measured.
        problems: how many datasets had each kind of problem.
    """

    name: str
    labels: list[str]
    measurements: Measurements
    draws: int
    around: bool = False
    inference: str = "the guide"
    problems: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every check passed and all draws are finite.

        False for a calibrated guide in at most 5% of runs.
        """
        return self.p_value >= LATENTS + REGIONS + JOINT_LEVEL and not len(self.measurements.lost)

    @cached_property
    def p_value(self) -> float:
        """One p-value of all checks: below a with probability at most a, if it is calibrated.

        The smallest of latents, regions and all latents together, each divided by its share of the
        level (`LATENTS`, `REGIONS`, `JOINT_LEVEL`, of their sum).
        """
        together = min(self.together.values(), default=1.0)
        kinds = {LATENTS: self.table["sbc_p"].min(), JOINT_LEVEL: together}
        whole = LATENTS + REGIONS + JOINT_LEVEL
        parts = [p * whole / level for level, p in kinds.items()]
        return float(min(1.0, *parts, self.table["region_p"].min() * whole / REGIONS))

    @cached_property
    def wide(self) -> int:
        """How many datasets have a latent whose sd is above `WIDE` times that of all truths.

        Their ranks may be uniform while their sds are wrong.
        """
        prior = self.measurements.truth.std(0, ddof=1)
        return int(np.sum(np.any(self.measurements.sd > WIDE * prior, 1)))

    @cached_property
    def regions(self) -> dict[str, np.ndarray]:
        """Which datasets belong to each region, (T, P).

        Regions are thirds by the number of rows (or each number, where there are at most three),
        and the centre and the tail by the posterior mean.
        By the mean and not by the truth: given the data every quantity is calibrated, given the
        truth none is.
        """
        rows, mean = self.measurements.rows, self.measurements.mean
        level = np.argsort(np.argsort(rows, kind="stable"), kind="stable") * 3 // len(rows)
        kinds, sizes = {}, np.unique(rows)
        if 1 < len(sizes) <= 3:
            kinds = {
                f"rows_{size:.0f}": np.broadcast_to((rows == size)[:, None], mean.shape)
                for size in sizes
            }
        elif len(sizes) > 3:
            kinds = {
                f"rows_{name}": np.broadcast_to((level == i)[:, None], mean.shape)
                for i, name in enumerate(("small", "middle", "large"))
            }
        away = np.abs(mean - np.median(mean, 0))
        tail = away > np.quantile(away, 2 / 3, axis=0)
        return {**kinds, "prior_centre": ~tail, "prior_tail": tail}

    @cached_property
    def region_p(self) -> pd.DataFrame:
        """p-values by latent (P rows) and region (columns), corrected for the number of both."""
        pit = self.measurements.pit
        raw = [
            [p_values(pit[inside[:, j], j][:, None])[0] for j in range(pit.shape[1])]
            for inside in self.regions.values()
        ]
        index = pd.Index(self.labels, name="latent")
        return pd.DataFrame(holm(np.array(raw).T), index=index, columns=list(self.regions))

    @cached_property
    def together(self) -> dict[str, float]:
        """p-values of all latents together, corrected for their number.

        Of ranks by the guide's density, by the model's joint density, and by distance (TARP).
        """
        kinds = {n: getattr(self.measurements, n) for n in ("density", "joint", "tarp")}
        kinds = {n: v for n, v in kinds.items() if np.isfinite(v).all()}
        values = holm(p_values(np.stack(list(kinds.values()), 1)))
        return dict(zip(kinds, map(float, values), strict=True))

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a latent entry; see `diagnose`."""
        sbc, worst = holm(p_values(self.measurements.pit)), self.region_p.min(axis=1).to_numpy()
        table = self._numbers(np.ones_like(self.measurements.truth, bool))
        table.insert(0, "sbc_p", sbc)
        table.insert(table.columns.get_loc("bias"), "ok", (sbc >= LATENTS) & (worst >= REGIONS))
        table["region"], table["region_p"] = self.region_p.idxmin(axis=1), worst
        table.attrs = {
            **self.about,
            **{f"{n}_p": p for n, p in self.together.items()},
            "ok_together": self._together_ok,
        }
        return table

    @cached_property
    def by_region(self) -> pd.DataFrame:
        """A row a latent entry and region.

        Columns `datasets`, `sbc_p` (as `region_p`), and those of `diagnose` from `coverage_50` to
        `log_density`.
        """
        tables = {}
        for name, inside in self.regions.items():
            tables[name] = self._numbers(inside)
            tables[name].insert(0, "datasets", inside.sum(0))
            tables[name].insert(1, "sbc_p", self.region_p[name])
        return pd.concat(tables, names=["region", "latent"]).swaplevel().loc[self.labels]

    def _numbers(self, inside: np.ndarray) -> pd.DataFrame:
        """A row a latent entry, from the datasets inside (T, P)."""
        measured, rows = self.measurements, []
        for j, prior in enumerate(np.var(measured.truth, 0, ddof=1)):
            values = (measured.truth, measured.mean, measured.sd, measured.pit)
            rows.append(_numbers(*(v[inside[:, j], j] for v in values), prior))
        return pd.DataFrame(rows, index=pd.Index(self.labels, name="latent"))

    @property
    def _together_ok(self) -> bool:
        return all(p >= JOINT_LEVEL for p in self.together.values())

    @property
    def about(self) -> dict[str, Any]:
        """Sizes, how many datasets are lost or wide, and the log density of the truth.

        That is the mean over datasets of log q(latents | data), with its standard error.
        """
        density = self.measurements.log_density
        return {
            "model": self.name,
            "datasets": len(density),
            "draws": self.draws,
            "lost": len(self.measurements.lost),
            "wide": self.wide,
            "inference": self.inference,
            "problems": json.dumps(dict(self.problems)),
            "log_density": float(density.mean()),
            "log_density_error": float(density.std(ddof=1) / np.sqrt(len(density))),
        }

    def tree(self) -> xr.DataTree:
        """The calibration as a DataTree.

        Groups: `prior_sbc` (transforms by latent, as `arviz_plots.plot_ecdf_pit` reads them),
        `readings` (truths, means, sds and rows), `table`, and `regions` (`by_region` by latent and
        region).
        """
        measured = self.measurements._asdict()
        coords = {"simulation": np.arange(len(self.measurements.rows)), "latent": self.labels}
        dims = {n: ("simulation", "latent")[: v.ndim] for n, v in measured.items()}
        dims["lost"] = ("lost_simulation",)
        variables = {n: (dims[n], v) for n, v in measured.items()}
        sets = {
            "/": xr.Dataset(attrs={**self.about, "ok": int(self.ok)}),
            "/prior_sbc": xr.Dataset({"pit": variables.pop("pit")}, coords),
            "/readings": xr.Dataset(variables, coords),
            "/regions": self.by_region.to_xarray(),
            "/table": self.table.assign(region=self.table["region"].astype(object)).to_xarray(),
        }
        sets["/table"].attrs = {}
        return xr.DataTree.from_dict(sets)


def _numbers(
    truth: np.ndarray, mean: np.ndarray, sd: np.ndarray, pit: np.ndarray, prior: float
) -> dict[str, float]:
    """The numbers of one latent entry from some datasets, given the variance of its prior."""
    from scipy.stats import spearmanr

    z = (mean - truth) / sd
    coverage = {f"coverage_{100 * s:.0f}": np.mean(np.abs(pit - 0.5) < s / 2) for s in SHARES}
    return {
        **coverage,
        "z_score": np.sqrt(np.mean(z**2)),
        "contraction": 1 - np.median(sd**2) / prior,
        "bias": np.mean(z),
        "recovery": spearmanr(truth, mean).statistic,
        "log_density": np.mean(-0.5 * z**2 - np.log(sd) - 0.5 * np.log(2 * np.pi)),
    }


def calibrate(
    guide: TrainedMethod, datasets: int = 200, draws: int = 400, seed: int = 0, around: Any = None
) -> Calibration:
    """Simulates datasets from the guide's task and measures how calibrated its posteriors are.

    Args:
        guide: the guide.
        datasets: T, the number of datasets, all in one compiled call.
        draws: S, the number of draws for each dataset.
        seed: the seed of the simulations and the draws.
        around: an observed dataset (a dict of arrays or a DataFrame). Latents then come from its
            posterior, and datasets are the observed rows with as many predicted ones below them.
            This checks the guide where it is used (Säilynoja, Schmitt, Bürkner and Vehtari 2025,
            "Posterior SBC", arXiv 2502.03279).

    Raises:
        DataError: too few datasets or draws, `around` does not fit the task, or draws of most
            datasets are not finite.
    """
    from amortppl.data.dataset import read

    observed = None if around is None else read(guide.task, around)
    measured = measure(guide, datasets, draws, seed, observed)
    labels = guide.task.latents.labels()
    return Calibration(guide.task.name, labels, measured, draws, around is not None)
