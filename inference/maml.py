"""Learned initialisation: MAML, gradient steps from learned weights of a network.

Finn, Abbeel and Levine 2017, "Model-agnostic meta-learning", arXiv 1703.03400. The rate is learned
as well, one for all weights.
"""

from dataclasses import dataclass

from amortppl.predictive.gradient_predictor import GradientOptions


@dataclass(frozen=True)
class MAML(GradientOptions):
    """Options of MAML; see `amortppl.predictive.gradient_predictor.GradientOptions`."""

    updates: int = 5


METHOD = MAML
