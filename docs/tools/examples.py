"""Examples of docstrings as mkdocstrings reads them.

`Example:` becomes the section `Examples:`, and a block of `>>>` lines in the text becomes code.
"""

import re
from typing import Any

import griffe

_BLOCK = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


class DocstringExamples(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called of every module, class, function and attribute."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = _BLOCK.sub(lambda m: f"```pycon\n{m[0]}\n```", text)
