"""Draws random models: sound ones, and ones with a few oddities."""

import hypothesis.strategies as st

from random_models.description import Observation, RandomModel
from random_models.families import FAMILIES, POSITIVE, PRIORS, VECTORS
from random_models.parts import EXTRAS, OUTER, PARTS
from random_models.render import FEEDS, FRAMES, MASKS, SCALES, is_written

SOUND_PARTS = (
    "slope", "event", "expanded", "columns", "groups", "non_centred", "nested_groups", "simplex",
    "gaussian", "correlation", "moving_support", "transformed", "circular", "chain", "loop",
    "local", "local_gamma", "closure", "offset", "switched", "count", "nonlinear", "branches",
    "label", "switch",
)  # fmt: skip
ODD_PARTS = tuple(p for p in PARTS if p not in SOUND_PARTS)
SOUND_EXTRAS = ("deterministic", "row_deterministic", "unused", "returned", "parameter")
ODDITIES = ("part", "frame", "mask", "scale", "feed", "extra", "outer", "rows", "cast", "site")


@st.composite
def random_models(draw: st.DrawFn, language: str = "numpyro") -> RandomModel:
    """A model in one language; about half have no oddity."""
    odd = draw(st.sampled_from(((), (), (), "one", "one", "two")))
    number = {"one": 1, "two": 2}.get(odd, 0)
    odd = set(draw(st.lists(st.sampled_from(ODDITIES), min_size=number, max_size=number)))
    return draw(_of_oddities(language, odd).filter(is_written))


@st.composite
def _of_oddities(draw: st.DrawFn, language: str, odd: set[str]) -> RandomModel:
    parts = draw(st.lists(st.sampled_from(SOUND_PARTS), max_size=3, unique=True))
    parts += [draw(st.sampled_from(ODD_PARTS))] if "part" in odd else []
    extras = draw(st.lists(st.sampled_from(SOUND_EXTRAS), max_size=1))
    extras += [draw(st.sampled_from(tuple(EXTRAS)))] if "extra" in odd else []
    observations = [draw(_observations(odd))]
    if draw(st.integers(0, 5)) == 0:
        other = draw(_observations({"second"}))
        observations += [Observation("k", "k", other.family, "plate")]
    block = "rows" in odd
    # NumPyro takes no floats for these.
    classes = any(o.family in ("categorical", "ordinal") for o in observations)
    return RandomModel(
        language=language,
        prior=draw(st.sampled_from(tuple(PRIORS))),
        spread=draw(st.sampled_from(("", *POSITIVE))),
        parts=tuple(parts),
        observations=tuple(observations),
        extras=tuple(dict.fromkeys(extras)),
        outer=(draw(st.sampled_from(tuple(OUTER))),) if "outer" in odd else (),
        rows=draw(st.sampled_from(("fixed", "block"))) if block else "range",
        sources=draw(st.sampled_from(("distribution", "callable", "table"))),
        cast="float32" if "cast" in odd and not classes else "",
    )


@st.composite
def _observations(draw: st.DrawFn, odd: set[str]) -> Observation:
    family = draw(st.sampled_from(tuple(FAMILIES)))
    sound = ["plate", "plate", "bare", "subsample_all"]
    sound += ["nested"] if family not in VECTORS and family != "left_censored" else []

    def choice(name: str, table: dict[str, object], usual: tuple[str, ...]) -> str:
        return draw(st.sampled_from(tuple(table) if name in odd else usual))

    return Observation(
        site="level" if "site" in odd else "y",
        family=family,
        frame=choice("frame", FRAMES, tuple(sound)),
        mask=choice("mask", MASKS, ("none", "none", "none", "none", "handler", "distribution")),
        scale=choice("scale", SCALES, ("none", "none", "none", "none", "half", "by_row")),
        feed=choice("feed", FEEDS, ("direct",)),
    )
