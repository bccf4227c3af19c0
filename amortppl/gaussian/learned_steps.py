"""A method whose every step is the learned update, in the parametric and the explicit regime."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from amortppl.gaussian.belief import Belief
from amortppl.gaussian.learned_update import LearnedUpdate
from amortppl.gaussian.update_inputs import SIGNALS, Rows, present
from amortppl.method import Method
from amortppl.task.batch import Batch


class LearnedSteps(Method):
    """`init`, `step` and `learn` of a method with a learned update.

    Attributes:
        options: of the method; `signals` and `drop` (see `present`) are read here.
        update: the learned update of a Gaussian belief by a mini-batch.
    """

    options: eqx.AbstractVar[Any]
    update: eqx.AbstractVar[LearnedUpdate]

    @abstractmethod
    def _seen(self) -> Rows:
        """How the update sees the rows of a mini-batch."""

    def init(self) -> Belief:
        """The learned belief before any row."""
        return self.update.init()

    def step(self, state: Belief, batch: Batch) -> Belief:
        """The state after a mini-batch; one of more than `most` rows is taken as several."""
        return self.update(state, batch, self._seen(), jnp.ones(len(SIGNALS), bool))

    def learn(self, state: Belief, batch: Batch, key: PRNGKeyArray) -> Belief:
        """A step in which signals are absent now and then, so that each is learned alone too."""
        present_ones = present(self.options.signals or (), self.options.drop, key)
        return self.update(state, batch, self._seen(), present_ones)
