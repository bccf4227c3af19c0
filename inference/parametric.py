"""Parametric regime: a posterior over the model's own latents, amortized in the whitened frame.

A step places a Gaussian frame by derivatives of the log joint: Newton's method to the mode, then
Gaussian variational sweeps by derivatives at cubature points (`amortppl.gaussian.search`). The
whitened residual gradients show what is not Gaussian. With the encoded rows they are the input of a
network that emits the coefficients of a flow on the whitened latents, trained by forward KL over
simulated tasks.

Of data alone the frame of a block is the linear regression of the latents on its numbers, in closed
form (`amortppl.gaussian.linear_frame`), and the network moves and scales it before the flow.

Mittal, Mahajan, Lajoie and Pezeshki 2025, "Iterative Amortized Inference", arXiv 2510.11471
(parametric regime); Radev et al. 2020, "BayesFlow", arXiv 2003.06281 (data signal alone);
Marino, Yue and Mandt 2018, "Iterative amortized inference", arXiv 1807.09356 (gradient signal).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

from amortppl.densities import density
from amortppl.densities.affine import Affine
from amortppl.errors import quoted
from amortppl.gaussian.class_detection import real_latents
from amortppl.gaussian.conditional_guide import ConditionalGuide, conditional_classes
from amortppl.gaussian.correction import correction_size
from amortppl.gaussian.density_choice import best_density
from amortppl.gaussian.linear_frame import MOST, linear_frame
from amortppl.gaussian.log_density import has_log_gamma
from amortppl.gaussian.parametric_guide import ParametricGuide
from amortppl.gaussian.plate_detection import plates_given_others
from amortppl.gaussian.shared_correction import shared_correction, shares_correction
from amortppl.gaussian.summary import summary_size
from amortppl.gaussian.training_schedule import best_schedule
from amortppl.networks.mlp import mlp
from amortppl.networks.with_columns import WithColumns
from amortppl.predictive.encoded_rows import encoder_of
from amortppl.task.abstract import AbstractTask
from amortppl.task.scaling import simulated_scales

SIGNALS = ("data", "gradient", "curvature")


@dataclass(frozen=True)
class Parametric:
    """Options of the parametric posterior.

    Attributes:
        signals: what a step sees: `data` (encoded rows), `gradient` of the log joint at the
            state, and `curvature`: its Hessian, and averages over the posterior by gradients around
            the state. `("data",)` needs no likelihood. Without `curvature` the frame's precision
            is Fisher information, from the scores of rows simulated at the state. By default all
            three, or data alone for a task with `likelihood=False`.
        encoder: `deep_set`, `second_moments` (with products of columns, for variances and
            dependence), `set_transformer`, `gru`, `temporal_convolution`, `series_transformer`,
            `image`; or of your own: a class, an Equinox module that encodes one row, or
            `FILE.py:NAME` of either (`amortppl.networks.shaped.own_encoder`).
        density: `triangular`, `gaussian`, `mixture`, `spline_flow` or, for very many latents and
            for several groupings, `diagonal`; by default as `amortppl.gaussian.density_choice` has
            it.
        width: numbers in the encoded dataset, products not counted.
        newton: Newton steps to the mode.
        sweeps: Gaussian variational sweeps after it.
    """

    signals: tuple[str, ...] | None = None
    encoder: str | Callable[..., Any] = "deep_set"
    density: str | None = None
    width: int = 32
    hidden: int = 128
    newton: int = 12
    sweeps: int = 2

    def __post_init__(self) -> None:
        unknown = [s for s in self.signals or () if s not in SIGNALS]
        if unknown or self.signals == ():
            raise LookupError(f"signals: {quoted(unknown)} not among {quoted(SIGNALS)}")
        if self.signals is not None:
            object.__setattr__(self, "signals", tuple(s for s in SIGNALS if s in self.signals))

    def resolved(self, task: AbstractTask) -> "Parametric":
        """The options with every default made definite for a task."""
        signals = self.signals or (SIGNALS if task.likelihood else ("data",))
        return replace(self, signals=signals, density=self.density or best_density(task, signals))

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults, as measured: `amortppl.gaussian.training_schedule`; nothing is trained
        where all else is drawn given few scales.
        """
        if self._draws_scales_first(task):
            return {"steps": 0}
        return best_schedule(task, self.resolved(task).signals or ())

    def _draws_scales_first(self, task: AbstractTask) -> bool:
        """Whether a task of several groupings goes by `ConditionalGuide`; an asked density does
        not.
        """
        curved = "curvature" in (self.resolved(task).signals or ())
        return self.density is None and curved and conditional_classes(task)[0]

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> ParametricGuide | ConditionalGuide:
        """Draws the weights for a task; scalings come from simulated rows.

        Raises:
            ModelError: the task has no latents.
        """
        options = self.resolved(task)
        keys = jr.split(key, 6)
        size = task.latents.size
        scale, rows = simulated_scales(task, keys[0])
        if self._draws_scales_first(task):
            real = tuple(real_latents(task).tolist())
            classes = conditional_classes(task)[1]
            return ConditionalGuide(task, options, scale, has_log_gamma(task), real, classes)
        family = density(options.density or "", size, keys[4])
        encode = encoder_of(task, self.encoder, rows, self.width, keys[1])
        framed, encoded = options.signals != ("data",), "data" in options.signals
        regress = None
        if not framed and task.block and rows.size <= MOST:
            regress = linear_frame(task, scale, rows, jr.fold_in(key, 6))
            encode = WithColumns(encode, rows.size)
        family = Affine(family) if options.density == "spline_flow" else family
        seen = encode.size + 1
        summary = seen + (summary_size(size) if framed else 0)
        site, entries = correction_size(size)
        start, centre = family.initial(), jnp.zeros(size)
        adjust = mlp(seen + 1 + site, entries, self.hidden, 2, keys[5], start=jnp.zeros(entries))
        place = mlp(seen, size, 64, 1, keys[2], start=centre) if framed and encoded else None
        correct = mlp(summary, family.coefficients, self.hidden, 2, keys[3], start=start)
        if framed and shares_correction(task, family):
            correct = shared_correction(task, summary, keys[3])
        return ParametricGuide(
            task=task,
            options=options,
            scale=scale,
            rows=rows,
            encode=encode,
            correct=correct,
            place=place,
            adjust=adjust if framed else None,
            regress=regress,
            density=family,
            gammas=has_log_gamma(task),
            plates=plates_given_others(task) if "curvature" in options.signals else None,
        )


METHOD = Parametric
