"""Draws the three regimes: what is learned, what is given.

uv run python docs/concepts/regimes_picture.py
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

LEARNED, GIVEN, EDGE = "#4c72b0", "#e9e9ee", "#555560"


def box(axis: Any, x: float, y: float, text: str, learned: bool = False, wide: float = 1.5) -> None:
    """A rounded box with words, blue where it is learned."""
    shape = FancyBboxPatch(
        (x - wide / 2, y - 0.36),
        wide,
        0.72,
        boxstyle="round,pad=0.04,rounding_size=0.12",
        facecolor=LEARNED if learned else GIVEN,
        edgecolor=EDGE,
        linewidth=0.8,
    )
    axis.add_patch(shape)
    colour = "white" if learned else "black"
    axis.text(x, y, text, ha="center", va="center", fontsize=9.5, color=colour, linespacing=1.25)


def arrow(axis: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """An arrow from place to place."""
    axis.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=EDGE, linewidth=1.1)
    )


def panel(
    axis: Any, title: str, middle: str, first: tuple[str, bool], last: tuple[str, bool]
) -> None:
    """One regime, from D at the top through g and f to y."""
    box(axis, 0, 4.4, "dataset D")
    box(axis, 0, 3.2, *first, wide=2.1)
    box(axis, 0, 2.0, middle, wide=2.5)
    box(axis, 0, 0.8, *last, wide=2.1)
    box(axis, 0, -0.4, "prediction of y")
    box(axis, 1.95, 0.8, "x", wide=0.6)
    for above in (4.4, 3.2, 2.0, 0.8):
        arrow(axis, (0, above - 0.41), (0, above - 0.79))
    arrow(axis, (1.6, 0.8), (1.12, 0.8))
    axis.set(xlim=(-1.45, 2.35), ylim=(-0.9, 4.95), aspect="equal")
    axis.set_title(title, fontsize=11, fontweight="bold")
    axis.axis("off")


def main() -> None:
    """Writes regimes.png beside this file."""
    figure, axes = plt.subplots(1, 3, figsize=(7.6, 4.3), layout="constrained")
    panel(
        axes[0],
        "parametric",
        "posterior over the\nmodel's own latents",
        ("g: adapt", True),
        ("f: your model", False),
    )
    panel(
        axes[1], "explicit", "a learned code\nof the task", ("g: adapt", True), ("f: predict", True)
    )
    panel(
        axes[2],
        "implicit",
        "the rows themselves,\nor a state of the query",
        ("g: pass on", False),
        ("f: predict", True),
    )
    figure.savefig(Path(__file__).with_name("regimes.png"), dpi=160)


if __name__ == "__main__":
    main()
