"""The figures of docs/paper.md: `python docs/paper figures [--results FOLDER]`."""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from paper.contenders import ATTENTION, ITERATED, LEARNED, SIGNALS, UNLEARNED
from paper.descent import OPTIMISERS
from paper.extras import FAR
from paper.matrix import LATENT
from paper.results import RESULTS, Results, error
from paper.tables import LABEL

HERE = Path(__file__).parent

COLOUR = {
    "parametric": "tab:blue",
    "parametric, whitened": "tab:cyan",
    "explicit": "tab:orange",
    "implicit": "tab:green",
}


LINES = ("-", "--", ":", "-.")
"""Of the tests of a task, as trained first."""


def save(figure: Figure, name: str) -> None:
    """Writes docs/paper/NAME.png."""
    figure.savefig(HERE / f"{name}.png", dpi=110)


def steps(results: Results) -> None:
    """Log predictive density against K: a panel a task, a line a regime, dashed where shifted."""
    tasks = [t for t in LABEL if any(m in results.methods(t) for m in ITERATED)]
    tasks = [t for t in tasks if t not in ("line100", *LATENT.values())]
    if not tasks:
        return
    across = min(4, len(tasks))
    down = -(-len(tasks) // across)
    figure = Figure(figsize=(1.5 + 3.3 * across, 0.6 + 2.9 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for panel, task in zip(panels, tasks, strict=False):
        for at, method in ((t, m) for t in (task, LATENT.get(task)) for m in ITERATED if t):
            for test, style in zip(results.tests(at, method), LINES, strict=False):
                curve, colour = results.curve(at, method, test), COLOUR[method]
                mean, bar = curve.lpd.mean(0), error(curve.lpd)
                panel.errorbar(curve.depths, mean, bar, fmt="o" + style, color=colour, ms=3, lw=1.2)
        panel.set_xscale("log")
        panel.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
        panel.minorticks_off()
        panel.set_title(LABEL[task], fontsize=10)
    for panel in panels[len(tasks) :]:
        panel.set_axis_off()
    for panel in panels[::across]:
        panel.set_ylabel("nats a query")
    handles = [panels[0].plot([], [], color=c, label=m)[0] for m, c in COLOUR.items()]
    styles = zip(("as trained", "shifted"), ("-", "--"), strict=True)
    handles += [panels[0].plot([], [], "k" + s, label=n)[0] for n, s in styles]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    save(figure, "steps")


def bound(results: Results) -> None:
    """Nats below the exact predictive, to ten times the depth trained on."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    panel = figure.subplots()
    for method in [m for m in ITERATED if m in results.methods("line5")]:
        near, depths = results.gap("line5", method, "like").mean(0), (1, 2, 5, 10, 20)
        far = results.extra("line5", method, "far", "gap")
        values = list(near) + ([] if far is None else list(far.mean(0)[1:]))
        ks = list(depths) + list(FAR[1:])[: len(values) - 5]
        shown = np.maximum(values, 2e-5)
        panel.plot(ks, shown, "o-", color=COLOUR[method], label=method, markersize=4)
    panel.axvline(20, color="grey", linestyle=":", linewidth=1)
    panel.text(19, 0.03, "trained to here", ha="right", transform=panel.get_xaxis_transform())
    panel.set(xscale="log", yscale="log", xlabel="mini-batches of 16 rows, K",
              ylabel="nats a query below the exact predictive")  # fmt: skip
    ticks = [1, 2, 5, 10, 20, 50, 100, 200]
    panel.set_xticks(ticks, [str(k) for k in ticks])
    panel.minorticks_off()
    panel.legend(frameon=False)
    save(figure, "bound")


def signals(results: Results) -> None:
    """What an update sees: rows, gradient or both, in 5 and in 100 dimensions."""
    tasks = [t for t in ("line5", "line100") if any("signals" in m for m in results.methods(t))]
    if not tasks:
        return
    figure = Figure(figsize=(1 + 4.5 * len(tasks), 3.6), layout="constrained")
    for panel, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        depths = (1, 2, 5, 10, 20) if task == "line5" else (1, 2, 5)
        for name, marker in zip(SIGNALS, "os^", strict=True):
            if f"signals: {name}" not in results.methods(task):
                continue
            gap = results.gap(task, f"signals: {name}", "like")
            panel.errorbar(depths, gap.mean(0), error(gap), marker=marker, label=name, capsize=2)
        panel.set(xscale="log", yscale="log", title=LABEL[task], xlabel="mini-batches, K")
        panel.set_xticks(depths, [str(k) for k in depths])
        panel.minorticks_off()
        panel.legend(frameon=False)
    figure.axes[0].set_ylabel("nats a query below the exact predictive")
    save(figure, "signals")


def gaps_of(results: Results, task: str, names: list[str]) -> dict[str, np.ndarray]:
    """Nats below the exact predictive on the same test tasks, or else below the best, by K."""
    there = [m for m in names if m in results.methods(task)]
    if results.has_exact(task):
        return {m: results.gap(task, m, "like").mean(0) for m in there}
    lpd = {m: results.curve(task, m, "like").by_seed[0] for m in there}
    same = min(map(len, lpd.values()))  # some had fewer of the same tasks
    curves = {m: values[:same].mean(0) for m, values in lpd.items()}
    best = np.max(list(curves.values()), 0)
    return {m: best - curve for m, curve in curves.items()}


LEAST, MOST = 1e-3, 10.0
"""Nats that the picture of baselines shows; what is beyond lies on its edge."""


def baselines(results: Results) -> None:
    """Nats below the best (or exact) of each task at K = 1 and 20: a row a method."""
    names = [*ITERATED, *ATTENTION, *LEARNED, *UNLEARNED, *OPTIMISERS]
    tasks = [t for t in LABEL if sum(m in results.methods(t) for m in names) > 3]
    tasks = [t for t in tasks if t not in LATENT.values()]
    gaps = {t: gaps_of(results, t, names) for t in tasks}
    for task in [t for t in tasks if t in LATENT and results.has_exact(LATENT[t])]:
        gaps[task] |= gaps_of(results, LATENT[task], names)
    names = [m for m in names if any(m in g for g in gaps.values())]
    if not tasks:
        return
    figure = Figure(figsize=(3.2 + 2.1 * len(tasks), 1.4 + 0.3 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for panel, (task, gap_of) in zip(panels, gaps.items(), strict=True):
        for place, name in enumerate(reversed(names)):
            if name in gap_of:
                gap = np.nan_to_num(gap_of[name], nan=np.inf, posinf=np.inf)
                ends = np.clip([gap[0], gap[-1]], LEAST, MOST)
                panel.plot(ends, [place, place], color="lightgrey", zorder=1)
                for end, value, colour in zip(ends, (gap[0], gap[-1]), DOTS.values(), strict=True):
                    marker = "<" if value < LEAST else ">" if value > MOST else "o"
                    panel.scatter(end, place, color=colour, s=22, marker=marker)
        panel.set(xscale="log", xlim=(LEAST / 1.6, MOST * 1.6))
        panel.set_title(LABEL[task], fontsize=10)
        panel.set_yticks(range(len(names)), list(reversed(names)))
        panel.grid(axis="y", color="0.93")
        panel.set_axisbelow(True)
    dots = [figure.axes[0].scatter([], [], color=c, label=n) for n, c in DOTS.items()]
    figure.supxlabel("nats a query below the exact predictive, or else the best", fontsize=10)
    figure.legend(handles=dots, loc="outside upper right", ncols=2, frameon=False)
    save(figure, "baselines")


DOTS = {"K = 1": "tab:orange", "K = 20": "tab:blue"}


CLOUDS = {
    "160 examples": ("examples", "examples"),
    "fresh points": ("fresh", "fresh"),
    "a Gaussian": ("Gaussian", "Gaussian"),
    "parametric": ("mixture|parametric, all signals", "mixture|parametric, all signals"),
    "explicit": ("flow|explicit", "letters|explicit"),
    "implicit": ("flow|implicit", "letters|implicit"),
    "hypernetwork": ("flow|hypernetwork", "letters|hypernetwork"),
}
"""What a column shows of a mixture, and of a letter."""

READ = {n: CLOUDS[n] for n in ("160 examples", "fresh points", "a Gaussian")} | {
    "kernel's field": ("kernel's field", "kernel's field"),
    "attention": ("flow|implicit, attention", "letters|implicit, attention"),
    "trained for long": ("long|flow|implicit, attention", "long|letters|implicit, attention"),
}
"""The same beside a state that is read by attention; the last column of results_long."""


def clouds(results: Results, columns: dict[str, tuple[str, str]], to: str) -> None:
    """Example points, fresh ones, and those that methods make: a row a shape.

    Nothing is drawn where a column's points are not there for any shape.
    """
    made = dict(np.load(results.folder / "clouds.npz"))
    if (longer := results.folder.with_name("results_long") / "clouds.npz").exists():
        made |= {n.replace("|", "|long|", 1): v for n, v in np.load(longer).items()}
    kept = {n.split("|", 1)[1] for n in made}
    if not all(kept & set(keys) for keys in columns.values()):
        return
    shapes = [("mixtures", 0, 5.0), ("mixtures", 1, 5.0)]
    shapes += [("like", 1, 3.3), ("letters", 0, 3.3), ("letters", 2, 3.3)]
    figure = Figure(figsize=(1.45 * len(columns), 1.5 * len(shapes)), layout="constrained")
    panels = figure.subplots(len(shapes), len(columns))
    for line, (test, number, far) in zip(panels, shapes, strict=True):
        for panel, (name, keys) in zip(line, columns.items(), strict=True):
            panel.set(xticks=[], yticks=[], xlim=(-far, far), ylim=(-far, far), aspect="equal")
            key = f"{test}|{keys[test != 'mixtures']}"
            if key in made:
                x, y = made[key][number].T
                panel.scatter(x, y, s=2.5, color=COLOUR.get(name, "0.25"), linewidths=0)
        line[0].set_ylabel({"mixtures": "mixture", "like": "letter a to t"}.get(test, "u to z"))
    for panel, name in zip(panels[0], columns, strict=True):
        panel.set_title(name, fontsize=9)
    save(figure, to)


def main() -> None:
    """Draws every figure whose results are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    results = Results(parser.parse_args().results)
    steps(results)
    bound(results)
    signals(results)
    baselines(results)
    if (results.folder / "clouds.npz").exists():
        clouds(results, CLOUDS, "clouds")
        clouds(results, READ, "attention")
    print(json.dumps({t: results.methods(t) for t in LABEL}))
