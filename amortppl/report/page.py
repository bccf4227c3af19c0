"""Pieces of a self-contained HTML page: sections, tables, figures, and the style."""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; --ink: #1d2330; --soft: #525b6b; --line: #d5dae3; --paper: #fff; --shade: #f4f6f9; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); }
body { font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
p, li, dd { max-width: 46rem; overflow-wrap: anywhere; }
p { margin: .6rem 0; }
.verdict { border: 1px solid; border-left-width: .5rem; border-radius: .4rem; padding: .8rem 1rem; margin: 1rem 0; }
.verdict strong { font-size: 1.15rem; }
.verdict p, .verdict ul { margin: .3rem 0 0; }
.good { background: #e8f5ec; border-color: #1b7f3b; color: #0d4a21; }
.care { background: #fff5db; border-color: #9a6700; color: #573a00; }
.bad { background: #fdeaea; border-color: #b42318; color: #761510; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem 1rem; }
.facts div { min-width: 0; }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.scroll { overflow: auto; max-width: 100%; max-height: 32rem; margin: .8rem 0; }
.scroll { border: 1px solid var(--line); border-radius: .4rem; }
.scroll:focus { outline: 2px solid #2f6fb5; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { position: absolute; clip-path: inset(50%); height: 1px; width: 1px; overflow: hidden; white-space: nowrap; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { background: var(--shade); position: sticky; top: 0; }
td.words { white-space: normal; }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child, td:first-child, td.words, th.words { text-align: left; }
tbody th { font-weight: 500; }
pre { margin: 0; padding: .8rem 1rem; background: var(--shade); width: max-content; min-width: 100%; }
pre { font: .85rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .9em; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .8rem; margin: 1rem 0; }
.pairs { grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: .8rem 1.6rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .8rem; break-inside: avoid; }
figure { margin: 0; min-width: 0; }
.wide { max-width: 40rem; margin: 1rem 0; }
img { display: block; width: 100%; height: auto; }
figcaption { font-size: .88rem; color: var(--soft); overflow-wrap: anywhere; }
th button { all: unset; cursor: pointer; font: inherit; text-decoration: underline dotted; }
th button:focus-visible, summary:focus-visible, a:focus-visible { outline: 2px solid #2f6fb5; outline-offset: 2px; }
details { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .8rem; margin: .5rem 0; }
summary { cursor: pointer; font-weight: 600; overflow-wrap: anywhere; }
a { color: #2f6fb5; }
footer { margin-top: 3rem; font-size: .85rem; color: var(--soft); }
.facts dd.long { font-size: .82rem; }
@media (max-width: 32rem) { table { font-size: .8rem; } th, td { padding: .3rem .3rem; } }
@media print {
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  .scroll { overflow: visible; max-height: none; border: 0; } pre { width: auto; white-space: pre-wrap; }
  table { font-size: 8.5pt; } th, td { white-space: normal; padding: .2rem .4rem; } thead th { position: static; }
  figure, .verdict, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page; it loads nothing."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" '
        'href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A headed section; nothing when it has no content."""
    content = "\n".join(p for p in parts if p)
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def paragraph(text: str) -> str:
    """Plain words."""
    return f"<p>{escape(text)}</p>" if text else ""


def box(level: str, headline: str, lines: Sequence[str] = ()) -> str:
    """A coloured box (`good`, `care` or `bad`) that says the same in words."""
    said = (
        [f"<p>{escape(s)}</p>" for s in lines]
        if len(lines) == 1
        else [f"<li>{escape(s)}</li>" for s in lines]
    )
    listed = f"<ul>{''.join(said)}</ul>" if len(said) > 1 else "".join(said)
    return f'<div class="verdict {level}"><strong>{escape(headline)}</strong>{listed}</div>'


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
    style = [' class="words"' if i in words else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{s}>{escape(h)}</th>' for h, s in zip(head, style, strict=True))
    cells = [
        "".join(f"<td{s}>{escape(c)}</td>" for c, s in zip(row[1:], style[1:], strict=True))
        for row in rows
    ]
    named = zip(rows, cells, strict=True)
    body = "\n".join(f'<tr><th scope="row">{escape(row[0])}</th>{rest}</tr>' for row, rest in named)
    caption = f"<caption>{escape(title)}</caption>"
    return _scroll(
        title, f"<table>{caption}<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    )


def source(title: str, text: str) -> str:
    """Program text, in a box that scrolls."""
    return _scroll(title, f"<pre><code>{escape(text)}</code></pre>") if text else ""


def _scroll(title: str, content: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">{content}</div>'


def figure(uri: str, alt: str, caption: str = "", wide: bool = False) -> str:
    """An image carried in the page, described for those who do not see it."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    kind = ' class="wide"' if wide else ""
    return f'<figure{kind}><img src="{uri}" alt="{escape(alt, quote=True)}">{below}</figure>'


def plots(figures: Sequence[str]) -> str:
    """Small figures beside each other, as many as the width allows."""
    return '<div class="plots">' + "\n".join(figures) + "</div>" if figures else ""


def pairs(figures: Sequence[str]) -> str:
    """Small figures of which each two in turn stay beside each other."""
    both = [
        f'<div class="pair">{"".join(figures[i : i + 2])}</div>' for i in range(0, len(figures), 2)
    ]
    return '<div class="plots pairs">' + "\n".join(both) + "</div>" if both else ""


SORT = """
document.querySelectorAll("table.sortable").forEach(table => {
  const value = (row, i) => {
    const cell = row.cells[i], said = cell.dataset.value;
    return said === undefined ? cell.textContent : +said;
  };
  table.querySelectorAll("th button").forEach((button, i) => button.addEventListener("click", () => {
    const head = button.closest("th"), down = head.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("thead th").forEach(h => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => { const [x, y] = [value(a, i), value(b, i)]; return (x > y) - (x < y); };
    const rows = [...table.tBodies[0].rows].sort((a, b) => down ? order(b, a) : order(a, b));
    table.tBodies[0].append(...rows);
  }));
});
document.querySelectorAll("a[data-opens]").forEach(link => link.addEventListener("click", event => {
  const part = document.getElementById(link.dataset.opens);
  event.preventDefault();
  part.open = true;
  part.scrollIntoView();
  part.querySelector("summary").focus();
}));
"""
"""Sorting and opening: the only script of a page, and only of pages with a table to sort."""


def sortable(
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    keys: Sequence[Sequence[float | None]],
    words: Sequence[int],
    opens: Sequence[str],
) -> str:
    """A table whose columns sort by a button in their heads.

    Args:
        title, head, rows, words: as for `table`.
        keys: what each cell sorts by; None for its text.
        opens: for each row the id of the `foldable` that its first cell opens; empty for none.
    """
    style = [' class="words"' if i in words else "" for i in range(len(head))]
    top = "".join(
        f'<th scope="col"{s}><button type="button">{escape(h)}</button></th>'
        for h, s in zip(head, style, strict=True)
    )
    body = []
    for row, sorts, target in zip(rows, keys, opens, strict=True):
        marks = ["" if k is None else f' data-value="{k:.6g}"' for k in sorts]
        link = (
            f'<a href="#{target}" data-opens="{target}">{escape(row[0])}</a>'
            if target
            else escape(row[0])
        )
        cells = "".join(
            f"<td{s}{m}>{escape(c)}</td>"
            for c, s, m in zip(row[1:], style[1:], marks[1:], strict=True)
        )
        body.append(f'<tr><th scope="row"{marks[0]}>{link}</th>{cells}</tr>')
    caption = f"<caption>{escape(title)}</caption>"
    lines = "\n".join(body)
    inner = f'<table class="sortable">{caption}<thead><tr>{top}</tr></thead>\n<tbody>\n{lines}\n</tbody></table>'
    return _scroll(title, inner) + f"<script>{SORT}</script>"


def foldable(name: str, title: str, *parts: str) -> str:
    """A part that opens by a click or a key."""
    return f'<details id="{name}"><summary>{escape(title)}</summary>{"".join(parts)}</details>'
