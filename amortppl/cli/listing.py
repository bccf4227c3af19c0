"""What comes with the package, read from its sources: no model or method is imported."""

import ast
import importlib
from pathlib import Path


def summaries(kind: str) -> dict[str, str]:
    """The first paragraph of every file's docstring, by name.

    Args:
        kind: `models` or `inference`.

    >>> summaries("models")["gaussian_mean"].endswith(".")
    True
    """
    folder = Path(next(iter(importlib.import_module(f"amortppl.{kind}").__path__)))
    files = sorted(p for p in folder.glob("*.py") if p.stem != "__init__")
    return {p.stem: _first_paragraph(ast.get_docstring(ast.parse(p.read_text()))) for p in files}


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())
