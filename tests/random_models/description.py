"""A random model as a small tree of names; `render` writes it out, and `strategy` draws it."""

from dataclasses import dataclass
from typing import Literal

Language = Literal["numpyro", "pyro"]


@dataclass(frozen=True)
class Observation:
    """One observed site.

    Attributes:
        argument: the model's argument that feeds it.
        site: its name.
        family: of `families.FAMILIES`.
        frame: how it is tied to the rows, of `render.FRAMES`.
        mask, scale: what takes rows out or multiplies them, of `render.MASKS` and `render.SCALES`.
        feed: how the argument reaches it, of `render.FEEDS`.
    """

    argument: str = "y"
    site: str = "y"
    family: str = "normal"
    frame: str = "plate"
    mask: str = "none"
    scale: str = "none"
    feed: str = "direct"

    @property
    def data(self) -> str:
        """What a task calls its data: the argument, or the site that `condition` feeds."""
        return self.site if self.feed == "condition" else self.argument


@dataclass(frozen=True)
class RandomModel:
    """A model with its task.

    Attributes:
        language: what it is written in.
        prior: of the latent `a`, of `families.PRIORS`.
        spread: of the latent `s`, a positive one of `families.PRIORS`, or "" for the number 0.7.
        parts: latents and terms of the linear predictor, of `parts.PARTS`.
        observations: the observed sites, all of the same predictor.
        extras: further statements, of `parts.EXTRAS`.
        outer: handlers around the model, of `parts.OUTER`, the innermost first.
        rows: "range" for 4 to 16 rows, "fixed" for 6, "block" for one block of 6.
        sources: what describes the inputs: "distribution", "callable" or "table".
        cast: the type in which counts and classes are given: "" for the site's own, or "float32".
    """

    language: Language = "numpyro"
    prior: str = "normal"
    spread: str = "half_normal"
    parts: tuple[str, ...] = ()
    observations: tuple[Observation, ...] = (Observation(),)
    extras: tuple[str, ...] = ()
    outer: tuple[str, ...] = ()
    rows: str = "range"
    sources: str = "distribution"
    cast: str = ""
