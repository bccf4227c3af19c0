"""Public names are documented, and the examples in docstrings run and give what they say."""

import ast
import doctest
import importlib
import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import amortppl as ap

ROOT = Path(__file__).parents[1]
FOLDERS = ("amortppl", "inference", "models")

OPTIONAL = ("amortppl.pyro", "amortppl.guide.pyro")
"""Modules that need the extra `pyro`; their examples run where it is installed."""

EXTRA = re.compile(r"\b(to_pyro|from_pyro)\b")
"""What in an example needs the extra."""

DOCUMENTED = (ap.Guide, ap.Task, ap.State, ap.Ladder, ap.Streaming, ap.Batches)
"""Public classes, each public method of which has an example."""


def names():
    for folder, package in (("amortppl", "amortppl"), ("inference", "amortppl.inference")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text():
                parts = path.relative_to(ROOT / folder).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                yield ".".join([package, *parts])


DEAR = re.compile(
    r"amortppl\.(guide|diagnostics|posterior|networks|densities|errors|fit|gaussian|many|training)"
)
"""Modules whose examples train or fit: they run among the slow tests."""


def by_cost():
    return [pytest.param(n, marks=[pytest.mark.slow] if DEAR.match(n) else []) for n in names()]


@pytest.mark.parametrize("name", by_cost())
def test_examples(name):
    extra = find_spec("torch") is not None
    if name.startswith(OPTIONAL) and not extra:
        pytest.skip("the extra `pyro` is not installed")
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=flags)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        if extra or not any(EXTRA.search(e.source) for e in test.examples):
            runner.run(test)
    assert runner.tries and not runner.failures


def has_example(documented):
    return ">>> " in (inspect.getdoc(documented) or "")


@pytest.mark.parametrize("name", ap.__all__)
def test_every_public_name_has_an_example(name):
    assert has_example(getattr(ap, name))


def public_methods(kind):
    """Names of a class's public methods and properties, each with the class that defines it."""
    for name in dir(kind):
        owner = next((c for c in kind.__mro__ if name in vars(c)), object)
        member = inspect.getattr_static(kind, name)
        asked = not name.startswith("_") or name in ("__call__", "__iter__")
        is_method = callable(member) or hasattr(member, "__get__")
        if asked and is_method and owner.__module__.startswith("amortppl"):
            yield name, owner


@pytest.mark.parametrize(
    ("kind", "name", "owner"),
    [(k, n, o) for k in DOCUMENTED for n, o in public_methods(k)],
    ids=lambda v: v if isinstance(v, str) else v.__name__,
)
def test_every_public_method_is_documented_and_used_in_an_example(kind, name, owner):
    """In its own docstring, or in that of the class that defines it or of one that has it."""
    if name in ("__call__", "__iter__"):  # used without their names
        assert inspect.getdoc(getattr(kind, name)) and has_example(owner)
        return
    member = inspect.getattr_static(kind, name)
    assert inspect.getdoc(member)
    classes = [c for c in kind.__mro__ if issubclass(c, owner)]
    examples = [e.source for c in classes for e in doctest.DocTestParser().get_examples(doc(c))]
    assert has_example(member) or any(re.search(rf"\.{name}\b", e) for e in examples)


def doc(kind):
    return inspect.getdoc(kind) or ""


def test_every_public_function_and_class_of_a_module_has_a_docstring():
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    without = []
    for path in sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        definitions = [n for n in tree.body if isinstance(n, kinds) and n.name[0] != "_"]
        classes = [n for n in definitions if isinstance(n, ast.ClassDef)]
        definitions += [
            m for c in classes for m in c.body if isinstance(m, kinds) and m.name[0] != "_"
        ]
        where = path.relative_to(ROOT)
        without += [f"{where}:{n.lineno} {n.name}" for n in definitions if not ast.get_docstring(n)]
        without += [] if ast.get_docstring(tree) else [f"{where}"]
    assert not without
