"""The reference names all that is public, and the links of a built page are checked."""

import ast
import re

import pytest

import amortppl as ap
from doc_tools import ROOT, tool

check_site = tool("check_site")


def text_of(page):
    return (ROOT / "docs/reference" / f"{page}.md").read_text()


def test_every_public_name_is_there():
    pages = "\n".join(p.read_text() for p in (ROOT / "docs/reference").glob("*.md"))
    there = set(re.findall(r"^::: \S*?(\w+)$", pages, re.MULTILINE))
    there |= set(re.findall(r"^## (\w+)$", text_of("errors"), re.MULTILINE))
    assert set(ap.__all__) <= there


def test_every_method_is_there():
    from amortppl import catalogue

    told = re.findall(r"^### `(\w+)`$", text_of("methods"), re.MULTILINE)
    assert sorted(told) == catalogue.names("inference")


def test_every_class_of_errors_has_an_anchor():
    from amortppl import errors

    classes = [
        n for n, v in vars(errors).items() if getattr(v, "__module__", "") == "amortppl.errors"
    ]
    classes = [n for n in classes if n[0].isupper()]
    headings = re.findall(r"^## (\w+)$", text_of("errors"), re.MULTILINE)
    assert set(classes) <= set(headings)


def test_every_command_is_described():
    from amortppl.cli.commands import app

    told = tool("command_line").describe_commands()
    wanted = {c.name or c.callback.__name__ for c in app.registered_commands}
    assert wanted == set(re.findall(r"^## (\w+)$", told, re.MULTILINE))
    assert "| `--draws` | `1000` | Independent draws. |" in told


@pytest.mark.slow
def test_every_statistic_is_explained():
    task = ap.model("gaussian_mean", rows=(4, 8))
    guide = ap.train(task, "laplace", progress=False)
    data = {"y": [0.3, -0.2, 1.1, 0.4]}
    streamed = guide.infer(ap.batches(data, size=2), draws=100, check=True)
    trees = (guide.infer(data, draws=100, trust="ladder"), streamed)
    files = text_of("files")
    for name in {n for tree in trees for n in tree["sample_stats"].data_vars}:
        assert f"| `{name}` |" in files


def page(tmp_path, body):
    (tmp_path / "other.html").write_text("<h1 id='there'>Other</h1>")
    (tmp_path / "page.html").write_text(body)
    return list(check_site.faults(tmp_path))


@pytest.mark.parametrize(
    "body, word",
    [
        ("<a href='nowhere.html'>", "leads nowhere"),
        ("<a href='other.html#gone'>", "no anchor"),
        ("<script src='https://cdn.invalid/a.js'></script>", "another host"),
        ("<link rel='stylesheet' href='//fonts.invalid/a.css'>", "another host"),
        ("<img src='other.html'>", "without words"),
    ],
)
def test_faults_of_a_page_are_seen(tmp_path, body, word):
    (fault,) = page(tmp_path, body)
    assert word in fault


def test_style_sheets_that_ask_another_host_are_seen(tmp_path):
    (tmp_path / "a.css").write_text("@import url('https://fonts.invalid/b.css');")
    (fault,) = check_site.faults(tmp_path)
    assert "another host" in fault


def test_a_page_in_order_has_no_fault(tmp_path):
    body = "<a href='other.html#there'>x</a><a href='https://num.pyro.ai'>y</a><a href='#'>z</a>"
    assert page(tmp_path, body) == []


def literals():
    """All text in the package's source."""
    paths = [*(ROOT / "amortppl").rglob("*.py"), *(ROOT / "inference").glob("*.py")]
    nodes = (n for p in paths for n in ast.walk(ast.parse(p.read_text())))
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def fixed_parts(message):
    """What a message says of every case: its longest part without names, numbers and gaps."""
    parts = re.split(r"'[^']*'|…|\(|\)|[\d.,;\[\]-]+|: ", message)
    return max((p.strip() for p in parts), key=len)


def test_messages_are_those_of_the_source():
    told = re.findall(r"^\| (.*?) \|", text_of("errors"), re.MULTILINE)
    messages = [m for cell in told for m in re.findall(r"`([^`]+)`", cell)]
    source = literals()
    missing = [m for m in messages if not any(fixed_parts(m) in s for s in source)]
    assert len(messages) > 50 and missing == []
