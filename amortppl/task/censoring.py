"""Observations known up to a limit: NumPyro's censored distributions, simulated as they are scored.

`RightCensoredDistribution(base, censored)` and its kin score a value by an indicator, but sample
from `base` whatever it says. Here the indicator follows the outcome in simulated tasks:

    t ~ base,   c ~ limits,   y = min(t, c),   censored = t > c    (right; left with max and t <= c)

and of `IntervalCensoredDistribution` y is the pair of visits around t. The likelihood of (y,
censored) is then the one that the model scores, but for a factor without latents, where limits and
outcomes are independent given the inputs. Kalbfleisch and Prentice 2002, "The Statistical Analysis
of Failure Time Data", section 3.2.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from jaxtyping import Array, PRNGKeyArray
from numpyro.primitives import Messenger

from amortppl.task.censoring_indicators import Indicator
from amortppl.task.inputs import Source

LIMITS_OF = "limits of "
"""Before the name of an indicator, where its limits are stored."""


class Censoring:
    """How the observations of simulated tasks become censored.

    Args:
        indicators: by argument of the model.
        limits: where the limits of each come from, as inputs do.
    """

    def __init__(self, indicators: Mapping[str, Indicator], limits: Mapping[str, Source]) -> None:
        self.indicators, self.limits = dict(indicators), dict(limits)

    def covers(self, site: str) -> bool:
        """Whether a site's censoring is simulated."""
        return any(i.site == site for i in self.indicators.values())

    def observe(
        self, data: Mapping[str, Array], limits: Mapping[str, Array], observed: Mapping[str, str]
    ) -> dict[str, Array]:
        """Outcomes as they are seen: the observations and indicators that change.

        Args:
            data: arrays by argument, of which the observations hold the outcomes themselves.
            limits: by indicator, of these rows.
            observed: the site that each observation feeds.
        """
        seen: dict[str, Array] = {}
        for argument, site in observed.items():
            own = {n: i for n, i in self.indicators.items() if i.site == site}
            if own:
                seen |= _observe(argument, data[argument], own, limits)
        return {n: v.astype(data[n].dtype) for n, v in seen.items()}


def _observe(
    argument: str, outcome: Array, own: Mapping[str, Indicator], limits: Mapping[str, Array]
) -> dict[str, Array]:
    """The observation and the indicators of one site."""
    if "Interval" in next(iter(own.values())).kind:
        value, hidden = _between_visits(outcome[..., 0], [limits[n] for n in own])
    else:
        [(name, indicator)] = own.items()
        limit = limits[name].reshape(outcome.shape)
        right = indicator.kind.startswith("Right")
        beyond = outcome > limit if right else outcome <= limit
        value, hidden = jnp.where(beyond, limit, outcome), {indicator.flag: beyond}
    return {argument: value} | {
        n: jnp.where(hidden[i.flag], i.censored, 1 - i.censored) for n, i in own.items()
    }


def _between_visits(outcome: Array, limits: list[Array]) -> tuple[Array, dict[str, Array]]:
    """The last visit before each outcome and the first after it; both are one of them where the
    other does not exist, which makes the outcome left- or right-censored.
    """
    visits = jnp.concatenate([v.reshape(*outcome.shape, -1) for v in limits], -1)
    after = visits > outcome[..., None]
    lower = jnp.max(jnp.where(after, -jnp.inf, visits), -1)
    upper = jnp.min(jnp.where(after, visits, jnp.inf), -1)
    left, right = jnp.all(after, -1), ~jnp.any(after, -1)
    pair = jnp.stack([jnp.where(left, upper, lower), jnp.where(right, lower, upper)], -1)
    return pair, {"left_censored": left, "right_censored": right}


class SimulatedInterval(dist.IntervalCensoredDistribution):
    """NumPyro's, whose sample has two ends as its values do: the outcome twice."""

    def sample(self, key: PRNGKeyArray | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """The outcome as an interval of length zero."""
        outcome = super().sample(key, sample_shape)
        return jnp.stack([outcome, outcome], -1)


class _Intervals(Messenger):
    """Replaces interval-censored distributions by `SimulatedInterval`."""

    def process_message(self, msg: Any) -> None:
        """Where a plate has expanded one, it is expanded again."""
        if msg["type"] != "sample":
            return
        fn = getattr(msg["fn"], "base_dist", msg["fn"])
        for own in (msg["fn"], fn):
            if type(own) is dist.IntervalCensoredDistribution:
                new = SimulatedInterval(own.base_dist, own.left_censored, own.right_censored)
                msg["fn"] = new if own is msg["fn"] else new.expand(msg["fn"].batch_shape)


def with_two_ends(model: Callable[..., Any]) -> Callable[..., Any]:
    """The model, whose interval-censored sites sample two ends."""

    @functools.wraps(model)
    def simulated(*args: Any, **given: Any) -> Any:
        with _Intervals():
            return model(*args, **given)

    return simulated


def draw_limits(
    sources: Mapping[str, Source], limits: Mapping[str, Source], key: PRNGKeyArray, rows: int
) -> dict[str, Array]:
    """Limits of rows; those from tables go with the tables of the inputs.

    Args:
        sources: of the inputs, whose keys are others.
        limits: by indicator.
    """
    keys = {n: jr.fold_in(key, len(sources) + 1 + i) for i, n in enumerate(sorted(limits))}
    return {n: s.rows(key if s.joined else keys[n], rows) for n, s in limits.items()}


def draw_limits_of_groups(
    sources: Mapping[str, Source],
    limits: Mapping[str, Source],
    key: PRNGKeyArray,
    groups: int,
    places: int,
    most: int,
) -> dict[str, Array]:
    """Limits of the rows of groups, (G, R, ...), of as many places R as the data have.

    Args:
        sources, limits, key: as of `draw_limits`.
        groups: G.
        places: R, to which real groups are filled up.
        most: rows of a simulated group.
    """
    drawn = draw_limits(sources, limits, key, -(-groups * places // most))
    rows = {n: v.reshape(-1, *v.shape[2:])[: groups * places] for n, v in drawn.items()}
    return {n: v.reshape(groups, places, *v.shape[1:]) for n, v in rows.items()}
