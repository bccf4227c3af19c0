"""Learned initialisation and learned rates: Meta-SGD, with a rate for every weight of a network.

Li, Zhou, Chen and Li 2017, "Meta-SGD: Learning to learn quickly for few-shot learning", arXiv
1707.09835.
"""

from dataclasses import dataclass
from typing import ClassVar

from amortppl.predictive.gradient_predictor import GradientOptions


@dataclass(frozen=True)
class MetaSGD(GradientOptions):
    """Options of Meta-SGD; see `amortppl.predictive.gradient_predictor.GradientOptions`."""

    updates: int = 3
    own_rates: ClassVar[bool] = True


METHOD = MetaSGD
