"""Which of a model's sites are enumerated, which the observation feeds, and which follow them."""

from dataclasses import dataclass
from typing import Any

import numpyro.distributions as dist


@dataclass(frozen=True)
class Parts:
    """The sites of a model with enumerated discrete latents.

    Attributes:
        hidden: discrete latents, to be summed out.
        fed: sites that the observation feeds.
        after: deterministic sites that come after the first hidden one and may depend on it.
        rows: the plate that encloses all hidden and fed sites, or None.
        nesting: the largest number of nested plates.
        observation: where a simulation finds the observation: "returned", or a site's name.
        support: the support of the fed sites.
    """

    hidden: tuple[str, ...]
    fed: tuple[str, ...]
    after: tuple[str, ...]
    rows: str | None
    nesting: int
    observation: str
    support: Any

    @property
    def covered(self) -> tuple[str, ...]:
        """Sites that no outer handler sees."""
        return (*self.hidden, *self.fed, *self.after)


def is_enumerated(site: Any) -> bool:
    """Whether a site of a trace is a latent whose values the model asks to sum out."""
    return (
        site["type"] == "sample"
        and not site["is_observed"]
        and site["infer"].get("enumerate") == "parallel"
    )


def read_parts(free: Any, fed: list[str], how: str) -> Parts:
    """The parts of a model from its trace without an observation.

    Args:
        free: the trace.
        fed: names of the sites that the observation feeds.
        how: where a simulation finds the observation.
    """
    hidden = [n for n, s in free.items() if is_enumerated(s) and n not in fed]
    names = list(free)
    first = min((names.index(n) for n in hidden), default=len(names))
    after = [n for n in names[first:] if free[n]["type"] == "deterministic"]
    deepest = [f.dim for s in free.values() for f in s.get("cond_indep_stack", ())]
    return Parts(
        hidden=tuple(hidden),
        fed=tuple(fed),
        after=tuple(after),
        rows=_shared_plate([free[n] for n in (*hidden, *fed)]),
        nesting=-min(deepest, default=0),
        observation=how,
        support=_support(free[fed[0]]),
    )


def _shared_plate(sites: list[Any]) -> str | None:
    """The plate that encloses all sites, when there is exactly one."""
    names = [{f.name for f in s["cond_indep_stack"]} for s in sites]
    shared = set.intersection(*names)
    return shared.pop() if len(shared) == 1 else None


def _support(site: Any) -> Any:
    support = site["fn"].support
    return support.base_constraint if isinstance(support, dist.constraints.independent) else support
