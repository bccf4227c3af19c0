"""Draws the folders of amortppl/ by what they import: docs/architecture.png.

uv run python docs/architecture.py
"""

import ast
from pathlib import Path

import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]

FLOORS = [
    {"cli": "the command line"},
    {"diagnostics": "is the guide right?"},
    {"guide": "what a user asks"},
    {"report": "pages to read"},
    {"trust": "is one answer right?"},
    {"posterior": "a trained method\non data"},
    {"training": "simulate, train, record"},
    {
        "gaussian": "frames, and how\nbatches refine them",
        "data": "rows coming in",
        "predictive": "predictors of y",
        "catalogue": "models and methods\nby name",
    },
    {"method": "the contract:\ninit, step, readout"},
    {
        "task": "a model read as a\nfamily of datasets",
        "densities": "conditional\ndensities",
        "networks": "encoders",
    },
    {"pyro": "Pyro as NumPyro", "runtime": "compilation, files,\ndevices", "errors": ""},
]
"""From the user down; every arrow must point down."""

PLACES = {
    name: (place + (4 - len(row)) / 2, -number)
    for number, row in enumerate(FLOORS)
    for place, name in enumerate(row)
}


def imports(folder: str) -> set[str]:
    """The other folders that a folder, or a single file, imports from."""
    path = ROOT / "amortppl" / folder
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    modules = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "amortppl":
                modules |= {f"amortppl.{a.name}" for a in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module)
    parts = [m.split(".") for m in modules if m and m.startswith("amortppl.")]
    return {p[1] for p in parts} & PLACES.keys() - {folder, "errors"}


def needed() -> dict[str, set[str]]:
    """The imports that do not follow from others: a -> c falls where a -> b -> c."""
    graph = {name: imports(name) for name in PLACES}

    def reached(name: str) -> set[str]:
        return graph[name].union(*(reached(n) for n in graph[name]))

    return {
        name: others - set().union(*(reached(n) for n in others)) for name, others in graph.items()
    }


OUT = Path(__file__).with_name("architecture.png")


def main(out: Path = OUT) -> None:
    """Boxes by floor, arrows for imports that do not follow from others."""
    figure, axis = plt.subplots(figsize=(9, 10), layout="constrained")
    for name, others in needed().items():
        x, y = PLACES[name]
        for other in others:
            to_x, to_y = PLACES[other]
            line = {"arrowstyle": "-|>", "color": "0.55", "linewidth": 1.1, "shrinkB": 24}
            axis.annotate("", (to_x, to_y), (x, y), arrowprops=line, zorder=0)
    for row in FLOORS:
        for name, about in row.items():
            box = {"boxstyle": "round,pad=0.5", "facecolor": "#eef3fa", "edgecolor": "#2f6fb5"}
            text = f"$\\bf{{{name}}}$" + (f"\n{about}" if about else "")
            axis.text(*PLACES[name], text, ha="center", va="center", fontsize=9, bbox=box)
    axis.set(xlim=(-0.6, 3.6), ylim=(0.5 - len(FLOORS), 0.5))
    axis.axis("off")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
