"""Directives `::: name` as plain Markdown, signature and docstring, for readers like programs."""

import re
from functools import cache
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[2]

_DIRECTIVE = re.compile(r"^::: (\S+)\n(?:    .*\n)*", re.MULTILINE)


def spell_out(markdown: str) -> str:
    """A page with the signature and docstring of every object in place of its directive."""
    return _DIRECTIVE.sub(lambda found: _describe(_find(found[1])), markdown)


@cache
def _package(name: str) -> griffe.Object:
    found = griffe.load(name, search_paths=[str(ROOT)])
    assert isinstance(found, griffe.Object)
    return found


def _find(path: str) -> griffe.Object:
    package, _, rest = path.partition(".")
    found = _package(package)[rest]
    return found.final_target if isinstance(found, griffe.Alias) else found


def _describe(found: griffe.Object) -> str:
    parts = [_one(found, "##")]
    if found.is_class:
        own = {**found.inherited_members, **found.members}
        public = (m for n, m in own.items() if not n.startswith("_") and m.is_function)
        targets = (m.final_target if isinstance(m, griffe.Alias) else m for m in public)
        parts += [_one(m, "###") for m in targets if m.docstring]
    return "\n\n".join(parts) + "\n"


def _one(found: griffe.Object, level: str) -> str:
    text = found.docstring.value if found.docstring else ""
    if found.is_module:
        return text
    taken = [p.name for p in getattr(found, "parameters", []) if p.name != "self"]
    signature = f"{found.name}({', '.join(taken)})"
    return f"{level} {found.name}\n\n```python\n{signature}\n```\n\n{text}"
