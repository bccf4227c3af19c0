"""What the rounds of a hierarchical search do, in order, as arrays that a loop runs over."""

from enum import IntEnum
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from amortppl.gaussian.marginal_search import STEPS, visits
from amortppl.gaussian.plates import Plates


class Kind(IntEnum):
    """What a round does with the log density.

    Attributes:
        CONDITION: gradient and blocks of the Hessian at one place.
        AVERAGE: gradients at cubature points of the latents in plates given the others.
        FIT: nothing; the frame and its funnel are placed.
        SETTLE: gradients at the cubature points of the frame.
    """

    CONDITION = 0
    AVERAGE = 1
    FIT = 2
    SETTLE = 3


class Effort(NamedTuple):
    """How much a search does.

    Attributes:
        climb: Newton steps of all latents together, before the others.
        steps: Newton steps of the latents outside plates by their marginal density.
        sweeps: Gaussian variational sweeps.
    """

    climb: int = 0
    steps: int = STEPS
    sweeps: int = 0


class Round(NamedTuple):
    """One round, or R of them with a leading axis.

    Attributes:
        kind: of `Kind`.
        calls: how many times the derivatives are evaluated, each at as many places as `width`.
        number: of the round among those of its kind.
        climbing: whether a step of all latents together is wanted.
        prior: whether the prior's derivatives alone are wanted.
        moving: whether the frame is moved.
        axis: where the next evaluation of the marginal search lies.
    """

    kind: Int[Array, "*R"]
    calls: Int[Array, "*R"]
    number: Int[Array, "*R"]
    climbing: Bool[Array, "*R"]
    prior: Bool[Array, "*R"]
    moving: Bool[Array, "*R"]
    axis: Float[Array, "*R G"]


def width(plates: Plates) -> int:
    """Places at which derivatives are evaluated together: as many as the products of one Hessian.

    Cubature points take several calls: a width of theirs would double the price of each Hessian.
    """
    return len(plates.directions)


def averaging_calls(plates: Plates) -> int:
    """Evaluations that the 1 + 2S cubature points of the latents in plates take."""
    return -(-(1 + 2 * plates.most) // width(plates))


def settling_calls(plates: Plates) -> int:
    """Evaluations that the 1 + 2P cubature points of a frame take."""
    return -(-(1 + 2 * len(plates.parts)) // width(plates))


def plan(plates: Plates, starts: int, effort: Effort) -> Round:
    """The rounds of a search, R of them.

    Args:
        plates: which latents are placed given the others.
        starts: places of which the highest is where the climb begins.
        effort: how much to do.
    """
    axes, none = visits(effort.steps, len(plates.outer)), np.zeros(len(plates.outer))
    average, settle = averaging_calls(plates), settling_calls(plates)
    rounds = [
        (Kind.CONDITION, 1, i, True, False, False, none) for i in range(starts + effort.climb)
    ]
    for number, axis in enumerate(axes):
        each = (Kind.CONDITION, 1), (Kind.AVERAGE, average)
        rounds += [(k, calls, number, False, False, False, axis) for k, calls in each]
    rounds.append((Kind.FIT, 0, 0, False, False, False, none))
    moving = [True] * effort.sweeps + [False]
    rounds += [(Kind.SETTLE, settle, i, False, False, m, none) for i, m in enumerate(moving)]
    rounds.append((Kind.SETTLE, settle, len(moving), False, True, False, none))
    kinds = (np.int32, np.int32, np.int32, bool, bool, bool, np.float32)
    columns = zip(zip(*rounds, strict=True), kinds, strict=True)
    return Round(*(jnp.asarray(np.array(column, kind)) for column, kind in columns))
