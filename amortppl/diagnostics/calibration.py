"""Is a guide calibrated over the datasets its model makes? Simulation-based calibration, coverage,
recovery.

Talts, Betancourt, Simpson, Vehtari and Gelman 2018, arXiv 1804.06788; Modrák et al. 2023,
"Simulation-based calibration checking for Bayesian computation: the choice of test quantities
shapes sensitivity", Bayesian Analysis; Lemos, Coogan, Hezaveh and Perreault-Levasseur 2023,
"Sampling-based accuracy testing of posterior estimators" (TARP); Schad, Betancourt and Vasishth
2021 (z-scores and contraction); Säilynoja et al. 2025, posterior SBC.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from amortppl.diagnostics.sbc import Measurements, measure
from amortppl.diagnostics.uniformity import corrected, p_values
from amortppl.training.trained import TrainedMethod

LATENTS, REGIONS, JOINT_LEVEL = 0.03, 0.01, 0.01
"""How often a calibrated guide fails for its latents, for its regions, and for all latents
together: 5% in all.
"""

WIDE = 3.0
"""A posterior wider than so many priors has draws far out."""

SHARES = (0.5, 0.9)
"""Probabilities of the equal-tailed intervals whose coverage is told."""


@dataclass(frozen=True)
class Calibration:
    """What simulated datasets say of a guide.

    Attributes:
        name: of the model.
        labels: a label for each of P latent entries, on the unconstrained scale.
        readings: of each of T datasets.
        draws: draws for each.
        around: whether the datasets lie around an observed one (posterior SBC).
    """

    name: str
    labels: list[str]
    measure: Measurements
    draws: int
    around: bool = False

    @property
    def ok(self) -> bool:
        """Whether every check passed, and all draws are finite; false for a calibrated guide in at
        most 5% of runs.
        """
        return bool(self.table["ok"].all()) and self._together_ok and not len(self.readings.lost)

    @cached_property
    def wide(self) -> int:
        """Datasets with a latent whose sd is `WIDE` times that of all truths: their ranks may be
        right, sds are not.
        """
        found = self.readings
        return int(np.sum(np.any(found.sd > WIDE * found.truth.std(0, ddof=1), 1)))

    @cached_property
    def regions(self) -> dict[str, np.ndarray]:
        """Which datasets belong to each region, (T, P): by rows, and by where the posterior mean
        lies.

        By the mean and not by the truth: given the data all is calibrated, given the truth nothing
        is.
        """
        found, shape = self.readings, self.readings.truth.shape
        level = (
            np.argsort(np.argsort(found.rows, kind="stable"), kind="stable") * 3 // len(found.rows)
        )
        kinds = {}
        if np.ptp(found.rows) > 0:
            names = ("small", "middle", "large")
            kinds = {
                f"rows_{n}": np.broadcast_to((level == i)[:, None], shape)
                for i, n in enumerate(names)
            }
        away = np.abs(found.mean - np.median(found.mean, 0))
        tail = away > np.quantile(away, 2 / 3, axis=0)
        return {**kinds, "prior_centre": ~tail, "prior_tail": tail}

    @cached_property
    def region_p(self) -> pd.DataFrame:
        """p-values by latent and region, corrected for how many there are of both."""
        pit = self.readings.pit
        raw = [
            [p_values(pit[inside[:, j], j][:, None])[0] for j in range(pit.shape[1])]
            for inside in self._regions()
        ]
        return pd.DataFrame(
            corrected(np.array(raw).T),
            index=pd.Index(self.labels, name="latent"),
            columns=list(self.regions),
        )

    def _regions(self) -> list[np.ndarray]:
        return list(self.regions.values())

    @cached_property
    def together(self) -> dict[str, float]:
        """p-values of all latents together, corrected: density ranks, the model's joint density,
        and TARP.
        """
        kinds = {n: getattr(self.readings, n) for n in ("density", "joint", "tarp")}
        kinds = {n: v for n, v in kinds.items() if np.isfinite(v).all()}
        found = corrected(p_values(np.stack(list(kinds.values()), 1)))
        return dict(zip(kinds, map(float, found), strict=True))

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a latent entry; see `diagnose`."""
        sbc, worst = corrected(p_values(self.readings.pit)), self.region_p.min(axis=1).to_numpy()
        table = self._numbers(np.ones_like(self.readings.truth, bool))
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
        """A row a latent entry and region: `datasets`, `sbc_p` (as `region_p`), and of `diagnose`'s
        columns those from
        `coverage_50` to `log_density`."""
        found = {}
        for name, inside in self.regions.items():
            found[name] = self._numbers(inside)
            found[name].insert(0, "datasets", inside.sum(0))
            found[name].insert(1, "sbc_p", self.region_p[name])
        return pd.concat(found, names=["region", "latent"]).swaplevel().loc[self.labels]

    def _numbers(self, inside: np.ndarray) -> pd.DataFrame:
        """A row a latent entry, from the datasets inside (T, P)."""
        from scipy.stats import spearmanr

        found, rows = self.readings, []
        for j, prior in enumerate(np.var(found.truth, 0, ddof=1)):
            truth, mean, sd, pit = (
                a[inside[:, j], j] for a in (found.truth, found.mean, found.sd, found.pit)
            )
            z = (mean - truth) / sd
            rows.append(
                {
                    **{
                        f"coverage_{100 * s:.0f}": np.mean(np.abs(pit - 0.5) < s / 2)
                        for s in SHARES
                    },
                    "z_score": np.sqrt(np.mean(z**2)),
                    "contraction": 1 - np.median(sd**2) / prior,
                    "bias": np.mean(z),
                    "recovery": spearmanr(truth, mean).statistic,
                    "log_density": np.mean(-0.5 * z**2 - np.log(sd) - 0.5 * np.log(2 * np.pi)),
                }
            )
        return pd.DataFrame(rows, index=pd.Index(self.labels, name="latent"))

    @property
    def _together_ok(self) -> bool:
        return all(p >= JOINT_LEVEL for p in self.together.values())

    @property
    def about(self) -> dict[str, Any]:
        """Sizes, how many datasets are lost or wide, and the mean log density of the latents under
        the guide with its
        standard error."""
        density = self.readings.log_density
        return {
            "model": self.name,
            "datasets": len(density),
            "draws": self.draws,
            "lost": len(self.readings.lost),
            "wide": self.wide,
            "log_density": float(density.mean()),
            "log_density_error": float(density.std(ddof=1) / np.sqrt(len(density))),
        }

    def tree(self) -> xr.DataTree:
        """As a DataTree: `prior_sbc` (transforms by latent, as `arviz_plots.plot_ecdf_pit` reads
        them), `readings`
        (truth, means, sds and rows), `table` and `regions`, `by_region` by latent and region."""
        found, coords = (
            self.readings,
            {"simulation": np.arange(len(self.readings.rows)), "latent": self.labels},
        )
        by_latent = ("simulation", "latent")
        dims = {
            n: by_latent if getattr(found, n).ndim == 2 else ("simulation",) for n in found._fields
        }
        dims["lost"] = ("lost_simulation",)
        sets = {
            "/": xr.Dataset(attrs={**self.about, "ok": int(self.ok)}),
            "/prior_sbc": xr.Dataset({"pit": (by_latent, found.pit)}, coords),
            "/readings": xr.Dataset(
                {n: (dims[n], getattr(found, n)) for n in found._fields if n != "pit"}, coords
            ),
            "/regions": self.by_region.to_xarray(),
            "/table": self.table.assign(region=self.table["region"].astype(object)).to_xarray(),
        }
        sets["/table"].attrs = {}
        return xr.DataTree.from_dict(sets)


def calibrate(
    guide: TrainedMethod, datasets: int = 200, draws: int = 400, seed: int = 0, around: Any = None
) -> Calibration:
    """Simulates datasets from the guide's task and says whether its posteriors are calibrated.

    Args:
        guide: the guide.
        datasets: T, all in one compiled call.
        draws: S for each.
        seed: of everything.
        around: an observed dataset (a dict of arrays or a DataFrame): then latents come from its
            posterior and datasets are the observed rows with as many predicted ones below them.
            This checks the guide where it is used (Säilynoja, Schmitt, Bürkner and Vehtari 2025,
            "Posterior SBC", arXiv 2502.03279).

    Raises:
        DataError: too few datasets or draws, `around` does not fit the task, or draws of most
            datasets are not finite.
    """
    from amortppl.data.dataset import read

    observed = None if around is None else read(guide.task, around)
    found = measure(guide, datasets, draws, seed, observed)
    return Calibration(
        guide.task.name, guide.task.latents.labels(), found, draws, around is not None
    )
