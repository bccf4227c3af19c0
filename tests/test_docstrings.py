"""Examples in docstrings run, and give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPTIONAL = ("amortppl.pyro", "amortppl.guide.pyro")
"""Modules that need the extra `pyro`; their examples run where it is installed."""


def names():
    for folder, package in (("amortppl", "amortppl"), ("inference", "amortppl.inference")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text():
                parts = path.relative_to(ROOT / folder).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                yield ".".join([package, *parts])


@pytest.mark.parametrize("name", names())
def test_examples(name):
    if name.startswith(OPTIONAL):
        pytest.importorskip("torch", reason="the extra `pyro` is not installed")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    tried = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert tried.attempted and not tried.failed
