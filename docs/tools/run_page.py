"""Runs the Python blocks of a page from top to bottom, as one script, and keeps what they print.

    uv run --extra pyro python docs/tools/run_page.py docs/tutorials/regression.md

A fenced `text` block that follows a `python` block is its output and is written anew; pictures that
a block saves under a plain name go to pictures/ beside the page; a line `*Run on ...*` says on
which day this was. A block after `<!-- not run: REASON -->` is not run.
"""

import contextlib
import io
import linecache
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

STYLE = {
    "figure.dpi": 160,
    "savefig.bbox": "tight",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
"""Of the pictures; a reader's own differ in nothing else."""

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>[^>]+?) -->\n+)?```python\n(?P<code>.*?)^```\n"
    r"(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A Python block: its code, the output below it or None, and why it is not run ('' if it is).

    `start` and `end` are where it and its output stand in the page.
    """

    code: str
    output: str | None
    why: str
    start: int
    end: int


def blocks(text: str) -> list[Block]:
    """The Python blocks of a page, in order."""
    return [
        Block(m["code"], m["output"], m["why"] or "", m.start(), m.end())
        for m in _BLOCK.finditer(text)
    ]


def run(page: Path, folder: Path) -> Iterator[tuple[Block, str]]:
    """Runs the blocks of a page in one namespace in a folder; yields each with what it printed."""
    import matplotlib

    matplotlib.use("Agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    todo = blocks(page.read_text())
    with matplotlib.rc_context(STYLE), contextlib.chdir(folder):
        for number, block in enumerate(todo):
            place = f"<{page.name}, block {number}>"
            yield block, "" if block.why else _run_block(block.code, place, names)


def _run_block(code: str, place: str, names: dict[str, Any]) -> str:
    """What a block prints. Its lines are kept, because the source of a model is read from them."""
    linecache.cache[place] = (len(code), None, code.splitlines(keepends=True), place)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(code, place, "exec"), names)
    return "\n".join(line.rstrip() for line in printed.getvalue().splitlines()).strip("\n")


def words(text: str) -> str:
    """Output without its numbers and spaces, by which two runs are compared."""
    return re.sub(r"[-+]?(\d[\d.,]*(e[-+]?\d+)?|nan|inf)|\s|…", "", text)


def rewrite(page: Path) -> None:
    """Runs a page and writes its outputs and pictures anew."""
    text = page.read_text()
    with tempfile.TemporaryDirectory() as folder:
        parts, at = [], 0
        for block, printed in run(page.resolve(), Path(folder)):
            body = text[block.start : block.end]
            body = body if block.output is None else body[: body.rindex("\n```text\n")]
            output = f"\n```text\n{printed}\n```\n" if printed else ""
            parts += [text[at : block.start], body, output]
            at = block.end
        for picture in Path(folder).glob("*.png"):
            (page.parent / "pictures").mkdir(exist_ok=True)
            shutil.copy(picture, page.parent / "pictures")
    text = "".join(parts) + text[at:]
    when = f"*Run on {date.today().day} {date.today():%B %Y}.*"
    page.write_text(re.sub(r"^\*Run on.*\*$", when, text, flags=re.MULTILINE))


def main(names: list[str]) -> int:
    """Rewrites pages one after another; says which failed, and goes on."""
    failed = 0
    for name in names:
        try:
            rewrite(Path(name))
        except Exception:
            failed += 1
            print(f"{name}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
