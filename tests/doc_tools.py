"""The scripts of docs/tools as modules."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tool(name):
    """The script of a name."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs/tools" / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
