"""Parametric regime: a learned update of a posterior over the latents, one mini-batch at a time.

    theta_0 learned,    theta_i+1 = h(theta_i, B_i),    theta = (location, spread) in prior units

h is a transformer over one token a latent (where it stands, the mini-batch's gradient and curvature
there, its site and place) and one a row (x, y), the same for 2 latents or 500 and for any
mini-batch; it moves in units of the state's own sds, by the mini-batch's share of the rows seen
(`amortppl.gaussian.learned_update`). It is trained greedily on states at all depths, and stays good
far beyond these.

Mittal, Mahajan, Lajoie and Pezeshki 2025, "Iterative Amortized Inference", arXiv 2510.11471, Eq. 7
and 9. With rows alone it is an iterated hypernetwork, with gradients alone a learned optimiser.
"""

from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import PRNGKeyArray

from amortppl.errors import ModelError, nearest, quoted
from amortppl.gaussian.iterative_guide import IterativeGuide, iterative_guide
from amortppl.gaussian.objectives import check_objective
from amortppl.gaussian.update_inputs import SIGNALS
from amortppl.task.abstract import AbstractTask

POSTERIORS = ("full", "diagonal", "point")

MANY = 40
"""Latents beyond which they are independent by default, and curvature is no default signal."""


@dataclass(frozen=True)
class IterativeParametric:
    """Options of the learned update.

    Attributes:
        signals: what a step sees of a mini-batch: `data` (its rows), `gradient` and `curvature`
            (of its log likelihood at the state). By default all, without curvature beyond `MANY`
            latents; data alone for a task that says `likelihood=False`.
        posterior: `full` (a Gaussian with correlations), `diagonal` (independent latents) or
            `point`. By default `full`, and `diagonal` beyond `MANY` latents.
        objective: `forward_kl`, `reverse_kl` or `predictive` (`amortppl.gaussian.objectives`).
        closed_form: whether a step begins with the mini-batch's Gaussian site, which the network
            corrects.
        history: how many of the last steps the update sees.
        most: rows that a step looks at together, and the most that it is trained on; a longer
            mini-batch is taken as several.
        width, layers, heads: of the transformer.
    """

    signals: tuple[str, ...] | None = None
    posterior: str | None = None
    objective: str = "forward_kl"
    closed_form: bool = False
    history: int = 0
    most: int = 16
    width: int = 32
    layers: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        unknown = [s for s in self.signals or () if s not in SIGNALS]
        if unknown or self.signals == ():
            raise LookupError(f"signals: {quoted(unknown)} not among {quoted(SIGNALS)}")
        if self.posterior is not None and self.posterior not in POSTERIORS:
            raise LookupError(f"posterior: {self.posterior!r} is none of {quoted(POSTERIORS)}"
                              f"{nearest(self.posterior, POSTERIORS)}")  # fmt: skip
        if self.signals is not None:
            object.__setattr__(self, "signals", tuple(s for s in SIGNALS if s in self.signals))

    def resolved(self, task: AbstractTask) -> "IterativeParametric":
        """The options with every default made definite for a task.

        Raises:
            ModelError: signals or an objective that need a likelihood the task does not offer, or
                a site without correlations.
            LookupError: no such objective.
        """
        check_objective(self.objective, task)
        many = task.latents.size > MANY
        usual = SIGNALS[:2] if many else SIGNALS
        signals = self.signals or (usual if task.likelihood else SIGNALS[:1])
        posterior = self.posterior or ("diagonal" if many and not self.closed_form else "full")
        if not task.likelihood and (signals != SIGNALS[:1] or self.closed_form):
            raise ModelError(
                f"iterative_parametric: {task.name} offers no likelihood, so there is neither "
                f"gradient nor curvature "
                "nor site; leave `signals` and `closed_form` out, or give signals=('data',)"
            )
        if self.closed_form and posterior != "full":
            raise ModelError(
                f"closed_form: a site is a full Gaussian; got posterior={posterior!r}, leave it out"
            )
        return replace(self, signals=signals, posterior=posterior)

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 4000, "batch": 64, "rate": 3e-3, "average": 0.995, "mini_batch": self.most}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> IterativeGuide:
        """Draws the weights for a task; units come from simulated rows.

        Raises:
            ModelError: the task has no latents, or see `resolved`.
        """
        return iterative_guide(task, self.resolved(task), key)


METHOD = IterativeParametric
