"""Imports run one way, and `import amortppl` costs next to nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = [
    "torch",
    "pyro",
    "torchax",
    "blackjax",
    "jax",
    "numpyro",
    "matplotlib",
    "pyarrow",
    "arviz",
    "sklearn",
    "pandas",
]
"""What `import amortppl` alone must not import."""

LATE = [
    "torch",
    "pyro",
    "torchax",
    "blackjax",
    "matplotlib",
    "arviz",
    "arviz_plots",
    "arviz_stats",
    "sklearn",
    "typer",
]
"""What making a task must not import."""

ALLOWED = {"numpyro", "jax", "numpy", "math", "functools", "collections", "typing"}
"""What a model may import: NumPyro and what a NumPyro model is written with."""

ALLOWED_IN_DATA = ALLOWED | {"sklearn", "matplotlib", "gzip", "os", "pathlib"}
"""What a file of episodes may import: data come with scikit-learn, matplotlib's fonts or files."""

ALLOWED_IN_PYRO = {"pyro", "torch", "math", "functools", "collections", "typing"}
"""What a Pyro model may import; its file's name ends in _pyro."""


def imported(path):
    """Top-level names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            if node.module == "amortppl":
                yield from (f"amortppl.{a.name}" for a in node.names)
            else:
                yield node.module


def files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", files("models"), ids=lambda p: p.stem)
def test_models_know_one_language_only(path):
    episodes = "\ndef episodes(" in path.read_text()
    allowed = (
        ALLOWED_IN_PYRO if path.stem.endswith("_pyro") else ALLOWED_IN_DATA if episodes else ALLOWED
    )
    assert {n.split(".")[0] for n in imported(path)} <= allowed


@pytest.mark.parametrize("path", files("inference"), ids=lambda p: p.stem)
def test_methods_know_the_engine_and_neither_models_nor_each_other(path):
    for name in imported(path):
        assert name.split(".")[0] not in ("models", "inference", "examples", "tests")
        assert not name.startswith(("amortppl.models", "amortppl.inference"))


@pytest.mark.parametrize("path", files("amortppl"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_engine_knows_neither_models_nor_methods(path):
    for name in imported(path):
        assert name.split(".")[0] not in ("models", "inference", "examples", "tests")
        assert not name.startswith(("amortppl.models", "amortppl.inference"))


FLOORS = [
    "errors",
    "formula",
    "runtime",
    "pyro",
    "densities",
    "networks",
    "simulators",
    "task",
    "method",
    "catalogue",
    "data",
    "predictive",
    "gaussian",
    "training",
    "posterior",
    "trust",
    "choice",
    "many",
    "report",
    "guide",
    "fit",
    "diagnostics",
    "testing",
    "cli",
]
"""Folders and single files of amortppl/, each importing only from those before it."""


def floor(module):
    return module.split(".")[1]


@pytest.mark.parametrize("path", files("amortppl"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way_between_folders(path):
    """Inside functions and for type checking too."""
    parts = path.relative_to(ROOT / "amortppl").with_suffix("").parts
    if parts == ("__init__",):
        return
    below = FLOORS[: FLOORS.index(parts[0]) + 1]
    names = {n for n in imported(path) if n and n.startswith("amortppl.")}
    assert {floor(n) for n in names} <= set(below)


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_file_imports_itself_through_others():
    """By a walk along all imports from each file; `from a import b` counts for both."""
    paths = {module_name(p): p for p in files("amortppl") if p.name != "__init__.py"}
    graph = {}
    for name, path in paths.items():
        tree = ast.parse(path.read_text())
        froms = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        named = {f"{n.module}.{a.name}" for n in froms for a in n.names} | set(imported(path))
        graph[name] = named & (paths.keys() - {name})
    for name in graph:
        reached, todo = set(), [*graph[name]]
        while todo:
            other = todo.pop()
            if other not in reached:
                reached.add(other)
                todo += graph[other]
        assert name not in reached, f"{name} imports itself through {sorted(reached)}"


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()


def test_import_is_light():
    assert run(f"import amortppl, sys; print(*[m for m in {HEAVY} if m in sys.modules])") == []


def test_a_task_imports_no_more_than_it_needs_and_hides_no_public_name():
    code = f"""
import sys, numpyro, numpyro.distributions as dist
import amortppl.guide.train, amortppl.method, amortppl.catalogue, amortppl as ap
def model(rows, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("obs", rows): numpyro.sample("y", dist.Normal(mu, 1), obs=y)
ap.Task(model)
print(*[m for m in {LATE} if m in sys.modules])
print(*[n for n in ap.__all__ if type(getattr(ap, n)).__name__ == "module"])
"""
    assert run(code) == []


def test_every_module_says_what_it_is():
    for path in [*files("amortppl"), *files("models"), *files("inference")]:
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_packages_are_all_listed():
    """The list of packages is explicit, so a new folder must be added to it."""
    import tomllib

    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    packages = {
        ".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "amortppl").rglob("__init__.py")
    }
    assert listed == packages | {"amortppl.models", "amortppl.inference"}
