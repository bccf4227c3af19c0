"""Further passes over rows that a state has seen, and the union of states of disjoint rows."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array

from amortppl.gaussian.accumulator import seen_from
from amortppl.gaussian.cubature import averages, whitened_gradients
from amortppl.gaussian.filtering import Natural, apply_site, contraction
from amortppl.gaussian.frame import LogDensity
from amortppl.gaussian.placement import natural
from amortppl.gaussian.state import Revisit, State
from amortppl.gaussian.union import union


def revise(revisit: Revisit, begin: State, prior: LogDensity) -> State:
    """The state in the middle of a further pass.

    Evidence met again replaces its share of the old evidence, so that nothing counts twice; see
    `EvidenceSum.blend`.

    Args:
        revisit: the pass under way.
        begin: the state before the rows of this pass; the prior's where there was none.
        prior: log prior density in prior units.
    """
    base, since, again = revisit
    share = jnp.clip(again.rows / jnp.maximum(base.rows - begin.rows, 1.0), 0.0, 1.0)
    average = averages(whitened_gradients(prior, base.frame))
    from_state = isinstance(since, State)
    kept = seen_from(base.frame, since.frame) if from_state else average
    shift, factor = again.blend(kept, share)
    frame, error = apply_site(base.frame, base.rounding_error, shift, factor)
    residual = contraction(begin.frame, base.frame) ** 3 * begin.residual
    residual = residual + (1.0 - share) * (base.residual - residual) + again.residual
    displaced = base.displaced.again(base.frame, base.rows, share)
    away = frame.location - base.frame.location + error - base.rounding_error
    displaced = displaced.after(away, base.rows)
    length = jnp.sqrt(jnp.mean((factor.T @ shift) ** 2))
    after = base._replace(
        frame=frame, rounding_error=error, residual=residual, moved=length, displaced=displaced
    )
    if from_state:
        return after
    return after._replace(prior=_mix(base.prior, natural(*average, base.frame), share))


def _mix(old: Natural, new: Natural, share: Array) -> Natural:
    """(1 - share) old + share new."""
    return Natural(*((1.0 - share) * a + share * b for a, b in zip(old, new, strict=True)))


def union_of_states(states: Sequence[State]) -> State:
    """The state of the union of disjoint rows; natural parameters add in float64 on the host."""
    funnel = max(states, key=lambda s: float(s.rows)).funnel
    states = [s.in_coordinates(funnel) for s in states]
    frames, priors = [(s.frame, s.rounding_error) for s in states], [s.prior for s in states]
    frame, error, prior = union(frames, priors)
    rows, steps = sum(s.rows for s in states), sum(s.steps for s in states)
    surprise = sum(s.steps * s.surprise for s in states) / jnp.maximum(steps, 1.0)
    away = [frame.location - s.frame.location + error - s.rounding_error for s in states]
    displaced = [s.displaced.after(a, s.rows) for s, a in zip(states, away, strict=True)]
    return State(
        frame=frame,
        rounding_error=error,
        prior=prior,
        rows=rows,
        context=sum(s.rows * s.context for s in states) / jnp.maximum(rows, 1.0),
        residual=sum(contraction(s.frame, frame) ** 3 * s.residual for s in states),
        surprise=surprise,
        steps=steps,
        moved=jnp.max(jnp.stack([s.moved for s in states])),
        displaced=jax.tree.map(lambda *parts: sum(parts), *displaced),
        funnel=funnel,
    )
