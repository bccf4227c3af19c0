"""Opens built pages in headless Chromium: console messages, other hosts, faults of accessibility.

    bash docs/look.sh [PAGE.html ...]

Every page is opened at 390 and 1280 pixels, in light and dark colours. No name but localhost can be
resolved, so that a request to another host is an error on the console. axe-core finds faults of
accessibility; serious and critical ones count.
"""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path

WIDTHS, SCHEMES = (390, 1280), {"light": 1, "dark": 0}

RUN_AXE = """<script src="/axe.min.js"></script><script>addEventListener("load", async () => {
  const found = await axe.run(document, {resultTypes: ["violations"]});
  const faults = found.violations.filter(v => ["serious", "critical"].includes(v.impact)).map(
    v => v.id + ": " + v.nodes.map(n => n.target.join(" ")).slice(0, 3).join(" | "));
  document.documentElement.setAttribute("data-axe", encodeURIComponent(JSON.stringify(faults)));
});</script></body>"""


class Pages(SimpleHTTPRequestHandler):
    """Serves a site, with axe-core in every page."""

    axe: bytes = b""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if self.path == "/axe.min.js":
            self._answer(self.axe, "text/javascript")
        elif path.suffix == ".html" and path.is_file():
            text = path.read_text().replace("</body>", RUN_AXE)
            self._answer(text.encode(), "text/html; charset=utf-8")
        else:
            super().do_GET()

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serve(site: Path, axe: Path) -> Iterator[str]:
    """The address of a site that is served while the block runs."""
    Pages.axe = axe.read_bytes()
    server = ThreadingHTTPServer(("localhost", 0), partial(Pages, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()


def look(address: str, width: int, scheme: str, picture: Path | None = None) -> list[str]:
    """What is wrong with a page, in words; a screenshot where a place for it is given."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += [f"--window-size={width},1800", "--virtual-time-budget=20000"]
    options += [f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost"]
    options += ["--enable-logging=stderr", "--disable-component-update", "--disable-sync"]
    shot = [f"--screenshot={picture}"] if picture else ["--dump-dom"]
    made = subprocess.run(
        ["chromium", *options, *shot, address], capture_output=True, text=True, timeout=120
    )
    faults = [line for line in made.stderr.splitlines() if "CONSOLE" in line]
    if picture:
        return faults
    told = re.search(r'data-axe="([^"]*)"', made.stdout)
    return faults + (_decode(told[1]) if told else ["axe-core did not run"])


def _decode(text: str) -> list[str]:
    from urllib.parse import unquote

    return json.loads(unquote(text))


def faults_of(site: Path, axe: Path, pages: list[str]) -> Iterator[str]:
    """Faults of pages at all widths and in all schemes."""
    with serve(site, axe) as address:
        for page, width, scheme in product(pages, WIDTHS, SCHEMES):
            for fault in look(f"{address}/{page}", width, scheme):
                yield f"{page}, {width} pixels, {scheme}: {fault}"


if __name__ == "__main__":
    site, axe = Path(sys.argv[1]), Path(sys.argv[2])
    pages = sys.argv[3:] or [p.relative_to(site).as_posix() for p in sorted(site.rglob("*.html"))]
    wrong = list(faults_of(site, axe, pages))
    print("\n".join(wrong) or f"{len(pages)} pages, no fault")
    sys.exit(bool(wrong))
