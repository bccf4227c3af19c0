"""What a page holds, and what headless Chromium makes of it."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
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


WIDTHS = (390, 1280)
"""Of a phone and a laptop, in pixels."""

WIDE = "{width: f.contentDocument.documentElement.scrollWidth}"
"""The width that a page takes of its frame `f`, as JavaScript."""


def fits(text, folder):
    """Whether the page is no wider than a phone's and a laptop's frame, and the console is silent,
    by headless Chromium.
    """
    wide, complaints = run_in_page(text, folder, f"return {WIDE};")
    return all(w["width"] <= at for w, at in zip(wide, WIDTHS, strict=True)) and not complaints


def run_in_page(text, folder, script):
    """What a function of the frame `f` that the page stands in returns, for each of the widths, and
    what the console said.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("needs Chromium")
    wrapper = folder / "wrapper.html"
    frames = "".join(
        f'<iframe style="border:0;width:{w}px;height:900px" srcdoc="{escape(text)}"></iframe>'
        for w in WIDTHS
    )
    measure = f"""
        const look = f => {{ {script} }};
        window.onload = () => {{
            document.title = JSON.stringify([...document.querySelectorAll("iframe")].map(look));
        }};"""
    wrapper.write_text(
        f"<!DOCTYPE html><meta charset=utf-8><title>-</title>{frames}<script>{measure}</script>"
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--no-zygote",
        "--single-process",  # a process of its own would wait for every test beside it
        f"--user-data-dir={folder / 'profile'}",
        "--enable-logging=stderr",
        f"--window-size={max(WIDTHS)},2000",
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
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unescape(match.group(1))), complaints
