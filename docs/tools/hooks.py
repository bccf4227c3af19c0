"""What MkDocs does beyond its plugins: formulas as MathML, the command line's help, llms.txt."""

import html
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from command_line import describe_commands
from plain_reference import spell_out

COMMANDS = "<!-- commands -->"

_FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL | re.MULTILINE
)

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")
"""Links to files of the repository beside docs/, which the site does not hold."""

_SEARCH = 'data-md-component="search" role="dialog" aria-label="Search"'

NOT_RUN = "*Run on*"
"""The line of a page that `run_page.py` has not run yet."""

_sources: dict[str, str] = {}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fills in the commands, and leaves links out of docs/ as plain text."""
    markdown = markdown.replace(COMMANDS, describe_commands() if COMMANDS in markdown else "")
    markdown = _mark_unrun(markdown) if NOT_RUN in markdown else markdown
    markdown = _OUTSIDE.sub(r"\1", markdown) if "/" not in page.file.src_uri else markdown
    _sources[page.file.dest_uri] = markdown
    return markdown


def _mark_unrun(markdown: str) -> str:
    """A page without outputs and pictures, which says so at its head."""
    markdown = re.sub(
        r"^```text\n+```\n|^!\[[^\]]*\]\(pictures/.*\n", "", markdown, flags=re.MULTILINE
    )
    head, rest = markdown.split("\n", 1)
    note = "!!! note\n    The code of this page has not been run yet: no outputs, no pictures."
    return f"{head}\n\n{note}\n{rest.replace(NOT_RUN, '')}"


def on_page_content(html_text: str, **_: Any) -> str:
    """Formulas as MathML, which browsers set without a script."""
    from latex2mathml.converter import convert

    def draw(found: re.Match[str]) -> str:
        kind = "inline" if found[1] == "span" else "block"
        formula = convert(html.unescape(found[2]).strip(), display=kind)
        return formula if kind == "inline" else f'<div class="formula">{formula}</div>'

    return _FORMULA.sub(draw, html_text)


def on_post_page(output: str, **_: Any) -> str:
    """The theme's search gets a name, which readers of screens need."""
    return output.replace('data-md-component="search" role="dialog"', _SEARCH)


def on_post_build(config: Any) -> None:
    """Writes llms.txt, and each page's Markdown beside it, for readers that are programs."""
    site = Path(config.site_dir)
    lines = ["# amortppl", "", f"> {config.site_description}.", ""]
    for place, text in sorted(_sources.items()):
        beside = Path(place).with_suffix(".md")
        (site / beside).write_text(spell_out(text))
        lines.append(f"- [{_title(text)}]({beside.as_posix()}): {_first_sentence(text)}")
    (site / "llms.txt").write_text("\n".join(lines) + "\n")


def _title(text: str) -> str:
    return next(line[2:].strip() for line in text.splitlines() if line.startswith("# "))


def _first_sentence(text: str) -> str:
    """The first sentence of the first paragraph that is prose."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for block in re.split(r"\n\s*\n", prose):
        if block and (block[0].isalnum() or block.startswith("**")):
            plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", " ".join(block.split()))
            return re.split(r"(?<=[.:?]) ", plain)[0].rstrip(":").replace("**", "")
    return ""
