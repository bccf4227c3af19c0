"""One step of each regime, drawn: `python docs/paper account` writes docs/paper/account.png."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

HEADS = ("what is kept", "what a step sees", "what is learned", "how it moves", "prediction")

MOVE = "location + √s A z,\nsds / exp(s log t),\ns = B / (n + B)"

REGIMES = {
    "parametric": (
        "tab:blue",
        "location, spread\nof the model's\nlatents; rows n",
        "a token a latent:\nstate, gradient,\ncurvature;\na token a row: x, y",
        "h, a transformer\nover these tokens:\nz, t for a latent",
        MOVE,
        "f known:\nthe model's own\nlikelihood",
    ),
    "explicit": (
        "tab:orange",
        "location, spread\nof a learned\nlatent z; rows n",
        "a token a number of z:\nstate, gradient of the\ndecoder's loss;\na token a row: x, y",
        "h, as above,\nand the decoder",
        MOVE,
        "f learned:\ndecoder(x, z)",
    ),
    "implicit": (
        "tab:green",
        "of each query:\nx, logits, weight\nof the evidence",
        "a token a query:\nx, logits, least squares\nof the rows there;\na token a row: x, y",
        "r, a transformer:\na query reads rows,\nnever other queries",
        "logits mixed with\nthe proposal by\nits share of the\nevidence",
        "the logits\nthemselves",
    ),
}


def draw_regime(panel: Any, height: float, name: str, colour: str, boxes: list[str]) -> None:
    """A row of five boxes, arrows between them, and one back for the next mini-batch."""
    panel.text(0.02, height, name, va="center", fontsize=11, color=colour, weight="bold")
    for column, text in enumerate(boxes):
        centre = 2.1 + 2.1 * column
        corner = (centre - 0.86, height - 0.5)
        style = {"boxstyle": "round,pad=0.03", "facecolor": "white", "edgecolor": colour}
        panel.add_patch(FancyBboxPatch(corner, 1.72, 1.0, **style))
        panel.text(centre, height, text, ha="center", va="center", fontsize=8)
        if column:
            ends = (centre - 1.2, height), (centre - 0.91, height)
            panel.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=9))
    ends = (2.1 + 2.1 * 3, height - 0.54), (2.1, height - 0.54)
    bow = {"connectionstyle": "arc3,rad=-0.07", "arrowstyle": "-|>", "mutation_scale": 9}
    panel.add_patch(FancyArrowPatch(*ends, color="grey", **bow))
    panel.text(5.25, height - 0.92, "next mini-batch", ha="center", fontsize=8, color="grey")


def main() -> None:
    """Draws the three regimes below one another."""
    figure = Figure(figsize=(11.5, 5.6), layout="constrained")
    panel = figure.subplots()
    panel.set(xlim=(0, 11.5), ylim=(0, 5.7))
    panel.set_axis_off()
    for column, text in enumerate(HEADS):
        panel.text(2.1 + 2.1 * column, 5.45, text, ha="center", fontsize=10, weight="bold")
    for place, (name, (colour, *boxes)) in enumerate(REGIMES.items()):
        draw_regime(panel, 4.6 - 1.8 * place, name, colour, boxes)
    figure.savefig(Path(__file__).parent / "account.png", dpi=110)
