"""A method whose every step is the learned update, in the parametric and the explicit regime."""

from abc import abstractmethod

import equinox as eqx

from amortppl.gaussian.belief import Belief
from amortppl.gaussian.learned_update import LearnedUpdate
from amortppl.gaussian.update_inputs import Rows
from amortppl.method import Method
from amortppl.task.batch import Batch


class LearnedSteps(Method):
    """`init` and `step` of a method with a learned update.

    Attributes:
        update: the learned update of a Gaussian belief by a mini-batch.
    """

    update: eqx.AbstractVar[LearnedUpdate]

    @abstractmethod
    def _seen(self) -> Rows:
        """How the update sees the rows of a mini-batch."""

    def init(self) -> Belief:
        """The learned belief before any row."""
        return self.update.init()

    def step(self, state: Belief, batch: Batch) -> Belief:
        """The state after a mini-batch; one of more than `most` rows is taken as several."""
        return self.update(state, batch, self._seen())
