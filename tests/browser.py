"""What a page holds, and what headless Chromium makes of it."""

import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser

import pytest


class Page(HTMLParser):
    """Collects what a page holds and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.alts, self.headings, self.words, self.tags = [], [], [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.loads += [given[k] for k in ("src", "href", "srcset", "data") if k in given]
        if tag == "img":
            self.alts.append(given.get("alt"))
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))

    def handle_data(self, data):
        self.words.append(data)


def render(text, width, folder):
    """Width of the page in a frame of this width, and what the console said, by headless
    Chromium.
    """
    measure = 'document.title = "width " + f.contentDocument.documentElement.scrollWidth'
    title, complaints = run_in_page(text, width, folder, measure)
    return int(title.removeprefix("width ")), complaints


def run_in_page(text, width, folder, script):
    """The title that a script leaves once the page stands in the frame `f`, and what the console
    said.
    """
    chromium = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if chromium is None:
        pytest.skip("needs Chromium")
    wrapper = folder / f"wrapper_{width}.html"
    measure = f"f.onload = () => {{ {script} }}"
    frame = f'<iframe id="f" style="border:0;width:{width}px;height:900px" srcdoc="{escape(text)}"></iframe>'
    wrapper.write_text(
        f"<!DOCTYPE html><meta charset=utf-8><title>-</title>{frame}<script>{measure}</script>"
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    flags += [
        f"--user-data-dir={folder / 'profile'}",
        "--enable-logging=stderr",
        f"--window-size={max(width, 600)},1000",
    ]
    done = subprocess.run(
        [chromium, *flags, "--dump-dom", wrapper.as_uri()],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    match = re.search(r"<title>(.*?)</title>", done.stdout)
    assert match and match.group(1) != "-", done.stdout[:300]
    return match.group(1), [line for line in done.stderr.splitlines() if "CONSOLE" in line]
