"""Checks built pages: every link and anchor leads somewhere, and nothing is asked of another host.

uv run python docs/tools/check_site.py site
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src"}
"""Elements whose address a browser asks for by itself."""

ASKING = ("stylesheet", "preconnect", "preload", "icon", "dns-prefetch", "manifest")
"""Kinds of <link> of which the same holds."""

OTHER_HOST = re.compile(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^\"')]*")
"""In a style sheet."""


class Page(HTMLParser):
    """Anchors, links and loaded addresses of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.unnamed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {k: v or "" for k, v in attrs}
        self.anchors |= {given[k] for k in ("id", "name") if k in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given:
            self.loaded.append(given[LOADED[tag]])
        if tag == "link" and any(k in given.get("rel", "") for k in ASKING):
            self.loaded.append(given["href"])
        if tag == "img" and "alt" not in given:
            self.unnamed.append(given.get("src", "?"))


def faults(site: Path) -> Iterator[str]:
    """What is wrong in a built site, in words."""
    pages = {p.resolve(): Page(p.read_text()) for p in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        where = path.relative_to(site.resolve())
        yield from (f"{where}: a picture without words, {src}" for src in page.unnamed)
        for address in page.links + page.loaded:
            wrong = _fault(path, address, pages, address in page.loaded)
            if wrong:
                yield f"{where}: {address}: {wrong}"
    for path in sorted(site.rglob("*.css")):
        for address in re.findall(
            r"(?:@import|url\()\s*[\"']?(https?:)?//[^\"')]*", path.read_text()
        ):
            yield f"{path.relative_to(site)}: asks another host ({address})"


def _fault(path: Path, address: str, pages: dict[Path, Page], loaded: bool) -> str:
    parts = urlsplit(address)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        return "asks another host" if loaded else ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if path.name == "404.html":
        return ""
    if not target.exists():
        return "leads nowhere"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return f"no anchor {anchor!r} there"
    return ""


if __name__ == "__main__":
    site = Path(sys.argv[1])
    wrong = list(faults(site))
    print("\n".join(wrong) or f"{len(list(site.rglob('*.html')))} pages, all links lead somewhere")
    sys.exit(bool(wrong))
