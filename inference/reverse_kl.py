"""Parametric regime: an in-context posterior trained by the reverse Kullback-Leibler divergence.

    min over phi   E_D KL(q_phi(theta | D) || p(theta | D))
                 = E_D E_q [log q(theta) - log p(theta, D)] + constant

One pass of a transformer over all rows emits a Gaussian, as in amortized variational inference; its
loss goes through the model's density, not through the latents that a task was simulated with.

Mittal, Bracher, Lajoie, Jaini and Brubaker 2025, "Amortized in-context Bayesian posterior
estimation", arXiv 2502.06601. More rows than `most` are taken as several mini-batches, each by a
step of the same update (`amortppl.gaussian.learned_update`).
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from jaxtyping import PRNGKeyArray

from amortppl.gaussian.iterative_guide import IterativeGuide, iterative_guide
from amortppl.gaussian.objectives import check_objective
from amortppl.task.abstract import AbstractTask


@dataclass(frozen=True)
class ReverseKL:
    """Options of the in-context posterior.

    Attributes:
        most: rows of one pass, at most.
        posterior: `full` or `diagonal`.
        width, layers, heads: of the transformer.
    """

    most: int = 128
    posterior: str = "full"
    width: int = 32
    layers: int = 3
    heads: int = 4
    signals: ClassVar[tuple[str, ...]] = ("data",)
    objective: ClassVar[str] = "reverse_kl"
    closed_form: ClassVar[bool] = False
    history: ClassVar[int] = 0

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 4000, "batch": 32, "rate": 2e-3, "average": 0.995, "mini_batch": self.most}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> IterativeGuide:
        """Draws the weights for a task.

        Raises:
            ModelError: the task has no latents, or no likelihood.
        """
        check_objective(self.objective, task)
        return iterative_guide(task, replace(self, most=min(self.most, task.rows[1])), key)


METHOD = ReverseKL
