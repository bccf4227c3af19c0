"""Which regime for what: a row a task, a cell a number or why there is none."""

import json
from collections.abc import Iterator

import numpy as np

from paper.contenders import ITERATED, LEARNED, UNLEARNED
from paper.descent import OPTIMISERS
from paper.results import Results, error

ROWS = {
    "regression, d = 5": ("line5", "like"),
    "the same, inputs shifted": ("line5", "shifted"),
    "Gaussian process": ("process", "like"),
    "the same, length scale shifted": ("process", "shifted"),
    "classes, simulated labels": ("classes", "like"),
    "digits 0 to 4": ("classes", "digits"),
    "digits 5 to 9": ("classes", "other_digits"),
    "Fashion-MNIST": ("classes", "fashion"),
    "velocity, mixtures": ("flow", "like"),
    "velocity, letters a to t": ("letters", "like"),
    "velocity, letters u to z": ("letters", "held_out"),
    "causal order, next node": ("order", "like"),
}

NONE = {
    ("flow", "parametric"): "the posterior of the mixture, below",
    ("flow", "parametric, whitened"): "the posterior of the mixture, below",
    ("letters", "parametric"): "does not apply: no program with latents draws letters",
    ("order", "parametric"): "does not apply: an order is discrete, the state a Gaussian",
}
NONE |= {(t, "parametric, whitened"): NONE[t, "parametric"] for t in ("letters", "order")}
"""Why a regime has no number on a task."""

LATENT = {"process": "weights"}
"""Tasks whose latents another task has."""


def matrix(results: Results) -> Iterator[str]:
    """Nats a query after 1 and after 20 mini-batches."""
    columns = [*ITERATED, "best of the others", "exact"]
    yield _row("task, tested on", *columns)
    yield "|" + "---|" * (len(columns) + 1)
    for label, (task, test) in ROWS.items():
        own = [_cell(results, task, m, test) for m in ITERATED]
        exact = _text(results, task, "exact", test) or "-"
        yield _row(label, *own, _best(results, task, test), exact)
    yield ""
    yield from _generation(results)


def _cell(results: Results, task: str, method: str, test: str) -> str:
    at = LATENT.get(task, task) if method.startswith("parametric") else task
    return _text(results, at, method, test) or NONE.get((task, method), "not measured")


def _text(results: Results, task: str, method: str, test: str) -> str:
    if method not in results.methods(task):
        return ""
    mean = results.curve(task, method, test).mean
    return f"{mean[0]:.3f} → {mean[-1]:.3f}"


def _best(results: Results, task: str, test: str) -> str:
    """The best baseline at the last K, by name; those on the task's latents are among them."""
    tasks = dict.fromkeys((task, LATENT.get(task, task)))
    names = [(t, m) for t in tasks for m in (*LEARNED, *UNLEARNED, *OPTIMISERS)]
    there = [(t, m) for t, m in names if m in results.methods(t)]
    if not there:
        return "none was run"
    own = results.curve(task, "implicit", test).by_seed[0]

    def lead(pair: tuple[str, str]) -> float:
        """Over the implicit regime on the same test tasks, of which some baselines had fewer."""
        lpd = results.curve(*pair, test).by_seed[0]
        return float(np.nan_to_num(np.mean(lpd[:, -1] - own[: len(lpd), -1]), nan=-np.inf))

    best = max(there, key=lead)
    few = len(results.curve(*best, test).by_seed[0])
    note = "" if few == len(own) else f" ({few} tasks)"
    return f"{best[1]}: {_text(results, *best, test)}{note}"


def _generation(results: Results) -> Iterator[str]:
    """Energy distance of new points to fresh ones."""
    path = results.folder / "generation.json"
    if not path.exists():
        return
    lines = json.loads(path.read_text())
    tests = {"mixtures": "mixtures", "like": "letters a to t", "letters": "letters u to z"}
    yield _row("new points by", *tests.values())
    yield "|" + "---|" * (len(tests) + 1)
    names = dict.fromkeys(n.split("/", 1)[1] for n in lines)
    for name in names:
        cells = [_distance(lines.get(f"{test}/{name}")) for test in tests]
        yield _row(name.replace("/", ", "), *cells)


def _distance(values: list[float] | None) -> str:
    if values is None:
        return "-"
    own = np.asarray(values)
    return f"{own.mean():.3f} ± {error(own):.3f}"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
