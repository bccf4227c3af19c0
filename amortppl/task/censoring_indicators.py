"""Which arguments of a model say which rows are censored: found by changing them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from amortppl.errors import ModelError, nearest, quoted
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.runtime.seeds import seed_key

FLAGS = {
    "RightCensoredDistribution": ("censored",),
    "LeftCensoredDistribution": ("censored",),
    "IntervalCensoredDistribution": ("left_censored", "right_censored"),
    "SimulatedInterval": ("left_censored", "right_censored"),
}
"""The indicators of each kind of censored distribution."""


class Indicator(NamedTuple):
    """What an argument that says which rows are censored does.

    Attributes:
        site: the observed site that it is of.
        flag: the distribution's parameter.
        kind: the distribution.
        censored: its value in rows that are censored, 0 or 1; the other is that of the others.
    """

    site: str
    flag: str
    kind: str
    censored: int


def censored_part(fn: Any) -> Any:
    """The censored distribution under wrappers; None where there is none."""
    while type(fn).__name__ not in FLAGS:
        if not hasattr(fn, "base_dist"):
            return None
        fn = fn.base_dist
    return fn


def read_indicators(
    model: str, run: Callable[[Array, Mapping[str, Array]], Any], like: Mapping[str, Any]
) -> dict[str, Indicator]:
    """What each argument does to the censored sites of a model, found by changing it.

    Args:
        model: its name, for messages.
        run: a trace of the model, from a random key and values of these arguments.
        like: shapes of their values.

    Returns:
        Those that change one; an argument that does not is missing.
    """
    kinds: dict[tuple[str, str], str] = {}

    def flags(key: Array, values: Mapping[str, Array]) -> dict[str, Array]:
        found = {}
        for name, site in run(key, values).items():
            part = censored_part(site["fn"]) if site["type"] == "sample" else None
            for flag in FLAGS[type(part).__name__] if part is not None else ():
                kinds[name, flag] = type(part).__name__
                found[f"{name} {flag}"] = getattr(part, flag)
        return found

    def both(key: Array) -> list[dict[str, Array]]:
        zero = {n: jnp.zeros(s.shape, jnp.int32) for n, s in like.items()}
        return [flags(key, zero)] + [flags(key, zero | {n: zero[n] + 1}) for n in zero]

    base, *others = evaluate(both, seed_key(3))
    indicators: dict[str, Indicator] = {}
    for name, other in zip(like, others, strict=True):
        for site, flag in kinds:
            before, after = (np.asarray(f[f"{site} {flag}"]) for f in (base, other))
            if not np.array_equal(before, after):
                value = int(np.all(after) and not np.any(before))
                indicators[name] = Indicator(site, flag, kinds[site, flag], value)
    return indicators


def expect_indicators(
    model: str, indicators: Mapping[str, Indicator], given: Iterable[str]
) -> None:
    """Raises where an argument in `censoring` marks no censored rows, or one of two ends is left
    out.

    Raises:
        ModelError: naming it.
    """
    for name in given:
        if name not in indicators:
            raise ModelError(
                f"{model}: censoring names {name!r}, which changes no indicator of a "
                f"{quoted(list(FLAGS)[:3])} at an observed site{nearest(name, indicators)}"
            )
    flags = {(i.site, i.flag) for i in indicators.values()}
    for indicator in indicators.values():
        for flag in FLAGS[indicator.kind]:
            if (indicator.site, flag) not in flags:
                raise ModelError(
                    f"{model}: {indicator.site!r} is censored from both sides; name the argument "
                    f"of {flag!r} in censoring too (its limits are visits like those of the other)"
                )


class CensoredError(ModelError):
    """An observed site is censored, and nothing says how its limits are drawn."""


def refuse_censored(model: str, name: str, fn: Any) -> None:
    """Refuses an observed site whose simulations its censoring does not touch.

    Raises:
        ModelError: saying how limits are described.
    """
    part = censored_part(fn)
    if part is None:
        return
    kind = type(part).__name__
    raise CensoredError(
        f"{model}: the site {name!r} is a {kind}, which simulates values as if nothing were "
        "censored, whatever its indicator says; tasks simulated so are not the data that it "
        "scores. Take the argument that says which rows are censored out of `inputs`, and say how "
        "the limits of rows are drawn: censoring={'that argument': dist.Uniform(1, 5)}, as in "
        "docs/censored.md"
    )
