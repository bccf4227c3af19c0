"""Pieces of a self-contained HTML page: sections, tables, figures, and the style."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files

_FILES = files("amortppl.report")

STYLE = _FILES.joinpath("style.css").read_text("utf-8")

SORT = _FILES.joinpath("sort.js").read_text("utf-8")
"""Sorting, finding, choosing and opening: the only script of a page, and only of pages that need
it."""

_HASH = b64encode(sha256(SORT.encode()).digest()).decode()

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    f"form-action 'none'; script-src 'sha256-{_HASH}'"
)
"""What a browser lets a page do: show its own images, and run no script but `SORT`."""


FEW = 12
"""Rows up to which a table needs no search."""


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page; it loads nothing, and the browser is told to refuse whatever would."""
    parts = list(parts)
    moves = any('class="sortable"' in p or "data-shows" in p for p in parts)
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}</style>\n</head>\n<body>\n<main>",
        f"<h1>{escape(title)}</h1>",
        *parts,
        f"</main>{f'<script>{SORT}</script>' if moves else ''}\n</body>\n</html>\n",
    ]
    return "\n".join(lines)


def section(title: str, *parts: str) -> str:
    """A headed section; nothing when it has no content."""
    content = "\n".join(p for p in parts if p)
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def paragraph(text: str) -> str:
    """A paragraph of plain text; nothing when it is empty."""
    return f"<p>{escape(text)}</p>" if text else ""


def box(level: str, headline: str, lines: Sequence[str] = ()) -> str:
    """A coloured box (`good`, `care` or `bad`) that says the same in words."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    below = f"<ul>{items}</ul>" if len(lines) > 1 else "".join(map(paragraph, lines))
    return f'<div class="verdict {level}"><strong>{escape(headline)}</strong>{below}</div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A short list of names and values."""
    items = "".join(f"<div><dt>{escape(n)}</dt>{_fact(v)}</div>" for n, v in pairs if v)
    return f'<dl class="facts">{items}</dl>' if items else ""


def _fact(value: str) -> str:
    """A value; a hash is set smaller, so that it stays on one line."""
    kind = ' class="long"' if len(value) > 12 and " " not in value else ""
    return f"<dd{kind}>{escape(value)}</dd>"


def table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()
) -> str:
    """A table that scrolls inside its own box; the first column names the row.

    Args:
        title: what it holds, for those who hear it read.
        head: names of the columns.
        rows: their cells, as text.
        words: columns, counted from 0, that hold words and not numbers.
    """
    if not rows:
        return ""
    style = _styles(len(head), words)
    top = "".join(f'<th scope="col"{s}>{escape(h)}</th>' for h, s in zip(head, style, strict=True))
    body = []
    for row in rows:
        rest = "".join(f"<td{s}>{escape(c)}</td>" for c, s in zip(row[1:], style[1:], strict=True))
        body.append(f'<tr><th scope="row">{escape(row[0])}</th>{rest}</tr>')
    return _scroll(title, _tabulate("<table>", title, top, body))


def _styles(count: int, words: Sequence[int]) -> list[str]:
    return [' class="words"' if i in words else "" for i in range(count)]


def _tabulate(tag: str, title: str, top: str, body: Sequence[str]) -> str:
    caption, lines = f"<caption>{escape(title)}</caption>", "\n".join(body)
    return f"{tag}{caption}<thead><tr>{top}</tr></thead>\n<tbody>\n{lines}\n</tbody></table>"


def source(title: str, text: str) -> str:
    """Program text, in a box that scrolls."""
    return _scroll(title, f"<pre><code>{escape(text)}</code></pre>") if text else ""


def _scroll(title: str, content: str) -> str:
    about = f'tabindex="0" role="region" aria-label="{escape(title)}"'
    return f'<div class="scroll" {about}>{content}</div>'


def figure(uri: str, alt: str, caption: str = "", wide: bool = False) -> str:
    """An image carried in the page, described for those who do not see it."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    kind = ' class="wide"' if wide else ""
    return f'<figure{kind}><img src="{uri}" alt="{escape(alt, quote=True)}">{below}</figure>'


def plots(figures: Sequence[str], large: bool = False) -> str:
    """Figures beside each other, as many as the width allows; one or two where they are large."""
    kind = "plots pairs" if large else "plots"
    return f'<div class="{kind}">' + "\n".join(figures) + "</div>" if figures else ""


def triples(figures: Sequence[str]) -> str:
    """Figures of middle size beside each other, as many as the width allows."""
    return '<div class="plots middle">' + "\n".join(figures) + "</div>" if figures else ""


def pairs(figures: Sequence[str]) -> str:
    """Small figures of which each two in turn stay beside each other."""
    both = [
        f'<div class="pair">{"".join(figures[i : i + 2])}</div>' for i in range(0, len(figures), 2)
    ]
    return '<div class="plots pairs">' + "\n".join(both) + "</div>" if both else ""


def sortable(
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    keys: Sequence[Sequence[float | None]],
    words: Sequence[int],
    opens: Sequence[str] = (),
) -> str:
    """A table whose columns sort by a button in their heads, and whose rows can be searched.

    Args:
        title, head, rows, words: as for `table`.
        keys: what each cell sorts by; None for its text.
        opens: for each row the id of the `foldable` that its first cell opens; empty for none.
    """
    if not rows:
        return ""
    style = _styles(len(head), words)
    top = "".join(
        f'<th scope="col"{s}><button type="button">{escape(h)}</button></th>'
        for h, s in zip(head, style, strict=True)
    )
    body = []
    for row, sorts, target in zip(rows, keys, opens or [""] * len(rows), strict=True):
        marks = ["" if k is None else f' data-value="{k:.6g}"' for k in sorts]
        link = escape(row[0])
        if target:
            link = f'<a href="#{target}" data-opens="{target}">{link}</a>'
        cells = "".join(
            f"<td{s}{m}>{escape(c)}</td>"
            for c, s, m in zip(row[1:], style[1:], marks[1:], strict=True)
        )
        body.append(f'<tr><th scope="row"{marks[0]}>{link}</th>{cells}</tr>')
    inner = _tabulate('<table class="sortable">', title, top, body)
    return (_find(title) if len(rows) > FEW else "") + _scroll(title, inner)


def _find(title: str) -> str:
    """A field that leaves in the next table the rows that hold what is typed."""
    about = f'aria-label="Find in: {escape(title, quote=True)}"'
    return f'<p><label>Find <input type="search" class="find" {about}></label></p>'


def choice(label: str, parts: dict[str, str]) -> str:
    """One of several parts, chosen by a list; all of them where scripts do not run."""
    if len(parts) < 2:
        return "".join(parts.values())
    options = "".join(f'<option value="{i}">{escape(n)}</option>' for i, n in enumerate(parts))
    each = [f'<div data-part="{i}">{part}</div>' for i, part in enumerate(parts.values())]
    chooser = f"<p><label>{escape(label)} <select data-shows>{options}</select></label></p>"
    return f'<div class="choice">{chooser}{"".join(each)}</div>'


def foldable(name: str, title: str, *parts: str) -> str:
    """A part that opens by a click or a key, with an id for links to it."""
    return f'<details id="{name}"><summary>{escape(title)}</summary>{"".join(parts)}</details>'
