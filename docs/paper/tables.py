"""The tables of docs/paper.md, as Markdown: `python docs/paper tables [--results FOLDER]`."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from paper.contenders import ATTENTION, ITERATED, LEARNED, OBJECTIVES, SIGNALS, UNLEARNED
from paper.descent import OPTIMISERS
from paper.extras import SHIFTED
from paper.matrix import matrix
from paper.results import RESULTS, Results, error

LABEL = {
    "line5": "regression, d = 5",
    "line100": "regression, d = 100",
    "process": "Gaussian process",
    "weights": "the process's weights",
    "classes": "classes on image features",
    "flow": "flow, mixtures",
    "letters": "flow, letters",
    "mixture": "mixture's posterior",
    "order": "causal order",
}


def row(*cells: object) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(str(c) for c in cells) + " |"


def nats(value: float) -> str:
    """A log predictive density; "diverges" where it is that of no prediction at all."""
    return f"{value:.3f}" if value > -50 else "diverges"


def head(*cells: object) -> Iterator[str]:
    """The first two rows of a Markdown table."""
    yield row(*cells)
    yield "|" + "---|" * len(cells)


def caption(results: Results, pairs: list[tuple[str, str]], part: str = "run") -> Iterator[str]:
    """A line that says how a table was made; nothing for an empty table."""
    own = [p for p in pairs if p[1] in results.methods(p[0])]
    if own:
        yield from ("", results.caption(own, part))


def steps_help(results: Results) -> Iterator[str]:
    """Log predictive density at each K, and whether it rises."""
    yield from head(
        "task, tested on", "method", "seeds", "K = 1", 2, 5, 10, 20, "K = 10 less K = 1", "monotone"
    )
    for task in LABEL:
        for method in [m for m in ITERATED if m in results.methods(task)]:
            for test in results.seeds(task, method)[0]["lpd"]:
                curve = results.curve(task, method, test)
                gains = np.diff(curve.lpd, axis=1)
                falls = gains.mean(0) < -error(gains)
                cells = [nats(v) for v in curve.mean] + ["-"] * (5 - len(curve.depths))
                if 10 in curve.depths:
                    gain = curve.lpd[:, curve.depths.index(10)] - curve.lpd[:, 0]
                    much = f"{gain.mean():.3f} ± {error(gain):.3f}"
                else:
                    much = "-"
                verdict = "yes" if not falls.any() else "no"
                yield row(f"{LABEL[task]}, {test}", method, curve.seeds, *cells, much, verdict)
    yield from caption(results, [(t, m) for t in LABEL for m in ITERATED])


def bound(results: Results) -> Iterator[str]:
    """Nats below the exact predictive, and the share of its gain."""
    for task in ("line5", "process", "weights"):
        if not results.has_exact(task):
            continue
        yield ""
        yield LABEL[task]
        yield ""
        yield from head("method", "seeds, updates", "K = 1", 2, 5, 10, 20, "share of the gain")
        exact = results.curve(task, "exact", "like").mean
        for method in [m for m in results.methods(task) if m != "exact"]:
            curve, gap = results.curve(task, method, "like"), results.gap(task, method, "like")
            cells = [f"{m:.4f} ± {e:.4f}" for m, e in zip(gap.mean(0), error(gap), strict=True)]
            share = 1 - gap.mean(0)[-1] / (exact[-1] - exact[0])
            yield row(method, f"{curve.seeds}, {curve.updates}", *cells, f"{share:.3f}")
        yield from caption(results, [(task, m) for m in results.methods(task)])


def far_beyond(results: Results) -> Iterator[str]:
    """Nats below the exact predictive, or below K = 20, to ten times the depth trained on."""
    yield from head("task", "method", "K = 20", 50, 100, 200)
    for task in SHIFTED:
        for method in ITERATED:
            gap = results.extra(task, method, "far", "gap")
            if gap is not None:
                cells = [f"{m:.4f} ± {e:.4f}" for m, e in zip(gap.mean(0), error(gap), strict=True)]
                yield row(LABEL[task], method, *cells)
    yield from caption(results, [(t, m) for t in SHIFTED for m in ITERATED], "extras")


def signals(results: Results) -> Iterator[str]:
    """Rows against gradients against both, in 5 and in 100 dimensions."""
    yield from head("d", "signals", "seeds, updates", "K = 1", 2, 5, 10, 20)
    for task in ("line5", "line100"):
        for name in [f"signals: {s}" for s in SIGNALS]:
            if name in results.methods(task) and results.has_exact(task):
                curve, gap = results.curve(task, name, "like"), results.gap(task, name, "like")
                pairs = zip(gap.mean(0), error(gap), strict=True)
                cells = [f"{m:.3f} ± {e:.3f}" for m, e in pairs]
                cells += ["-"] * (5 - len(cells))
                seen = f"{curve.seeds}, {curve.updates}"
                yield row(task.removeprefix("line"), name.removeprefix("signals: "), seen, *cells)
    names = [f"signals: {s}" for s in SIGNALS]
    yield from caption(results, [(t, n) for t in ("line5", "line100") for n in names])


WHOLE = ("line5", "classes")
"""Tasks whose baselines have a table of their own."""


def baselines(results: Results) -> Iterator[str]:
    """Every family at the same CPU seconds: log predictive density at three K."""
    for task in WHOLE:
        own = _judged(results, task)
        if len(own) < 3:
            continue
        yield ""
        tests = results.tests(task, own[0])
        yield LABEL[task]
        yield ""
        yield from head(
            "method", "seeds, updates", *(f"{t}, K = {k}" for t in tests for k in (1, 5, 20))
        )
        if results.has_exact(task):
            own.append("exact")
        for method in own:
            cells, curve = [], results.curve(task, method, tests[0])
            for test in tests:
                mean = results.curve(task, method, test).mean
                cells += [nats(mean[curve.depths.index(k)]) for k in (1, 5, 20)]
            yield row(method, f"{curve.seeds}, {curve.updates}", *cells)
        yield from caption(results, [(task, m) for m in own])
    yield ""
    yield from elsewhere(results)


def elsewhere(results: Results) -> Iterator[str]:
    """The other tasks, each on the test that is like its training: K = 1 and K = 20."""
    own = {t: _judged(results, t) for t in LABEL if t not in WHOLE}
    own = {t: methods for t, methods in own.items() if len(methods) > 3}
    names = dict.fromkeys((*ITERATED, *ATTENTION, *LEARNED, *UNLEARNED, *OPTIMISERS))
    yield from head("method", *(LABEL[t] for t in own))
    for method in [n for n in names if any(n in m for m in own.values())]:
        yield row(method, *(_first_and_last(results, t, method) for t in own))
    yield from caption(results, [(t, m) for t, methods in own.items() for m in methods])


def _judged(results: Results, task: str) -> list[str]:
    names = (*ITERATED, *ATTENTION, *OBJECTIVES, *LEARNED, *UNLEARNED, *OPTIMISERS)
    return [m for m in names if m in results.methods(task)]


def _first_and_last(results: Results, task: str, method: str) -> str:
    if method not in results.methods(task):
        return "-"
    curve = results.curve(task, method, "like")
    return f"{nats(curve.mean[0])} → {nats(curve.mean[-1])} ({curve.updates})"


def continual(results: Results) -> Iterator[str]:
    """Queries of the first of ten blocks, in nats against all at once."""
    yield from head("task", "method", "blocks in order less shuffled", "exact less blocks in order")
    for task in SHIFTED:
        for method in ITERATED:
            parts = (results.extra(task, method, "continual", p) for p in ("blocks", "shuffled"))
            blocks, shuffled = parts
            if blocks is None or shuffled is None:
                continue
            exact = results.extra(task, method, "continual", "exact")
            cells = [blocks - shuffled] + ([] if exact is None else [exact - blocks])
            shown = [f"{c.mean():.4f} ± {error(c):.4f}" for c in cells]
            yield row(LABEL[task], method, *shown, *["-"] * (2 - len(shown)))
    yield from caption(results, [(t, m) for t in SHIFTED for m in ITERATED], "extras")


def one_step(results: Results) -> Iterator[str]:
    """256 rows in sixteen steps and in one."""
    yield from head("update", "nats below the exact predictive after 256 rows")
    for method in ("parametric", "one step of 256 rows"):
        gap = results.extra("line5", method, "whole", "gap")
        if gap is not None:
            yield row(method, f"{gap.mean():.4f} ± {error(gap):.4f}")


def sites(results: Results) -> Iterator[str]:
    """Nats short of the exact posterior: closed-form sites alone, and with what was learned."""
    path = results.folder / "sites.json"
    if not path.exists():
        return
    yield from head("rows, objective", "seed, updates", "update", "K = 1", 2, 5, 10, 20)
    for name, line in json.loads(path.read_text()).items():
        *kind, seed = name.split("/")
        alone, learned = (np.asarray(line[n]) for n in ("sites", "learned"))
        shown = {"sites": alone, "learned": learned, "learned gains": alone - learned}
        if "default guide" in line:
            shown["default guide"] = np.asarray(line["default guide"])
        for update, short in shown.items():
            cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(short.mean(0), error(short), strict=True)]
            yield row(", ".join(kind), f"{seed}, {line['updates']}", update, *cells)


def instances(results: Results) -> Iterator[str]:
    """Synthetic gradients, and MAML over an in-context predictor."""
    path = results.folder / "instances.json"
    if not path.exists():
        return
    lines = json.loads(path.read_text())
    told = lines.pop("synthetic gradients", {})
    yield from head("digits", "nats a query", "told right")
    for name, values in told.items():
        if " labelled" in name:
            both = np.asarray(values)
            cells = zip(both.mean(0), error(both), strict=True)
            yield row(name, *(f"{m:.3f} ± {e:.3f}" for m, e in cells))
    yield ""
    yield from head("tested on, steps", *(f"{8 * k} rows" for k in (1, 2, 4)))
    for name, values in lines.get("MAML in context", {}).items():
        if ", " in name:
            own = np.asarray(values)
            cells = zip(own.mean(0), error(own), strict=True)
            yield row(name, *(f"{m:.3f} ± {e:.3f}" for m, e in cells))


def from_file(results: Results) -> Iterator[str]:
    """A million rows."""
    stream = results.folder / "stream.json"
    if stream.exists():
        lines = json.loads(stream.read_text())
        yield from head("method", *next(iter(lines.values())))
        for method, values in lines.items():
            cells = (v if isinstance(v, str) else f"{v:.4g}" for v in values.values())
            yield row(method, *cells)


TABLES = (
    matrix,
    steps_help,
    bound,
    far_beyond,
    one_step,
    signals,
    baselines,
    continual,
    sites,
    instances,
    from_file,
)


def main() -> None:
    """Prints every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    results = Results(parser.parse_args().results)
    for table in TABLES:
        print(f"\n## {table.__name__}\n")
        print("\n".join(table(results)))
