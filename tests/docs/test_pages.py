"""Every page's code runs from top to bottom as it stands, and prints what the page says."""

import re
import shlex

import jax
import pytest
from typer.testing import CliRunner

from doc_tools import ROOT, tool

run_page = tool("run_page")
PAGES = [
    p
    for p in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if any(not b.why for b in run_page.blocks(p.read_text()))
]


LONG = {f"docs/tutorials/{name}.md" for name in ("million", "thousand", "simulator", "paper")}
"""Pages that train for long: there programs that run fast cost less than those that compile fast."""


DEAREST = {f"docs/tutorials/{name}.md" for name in ("method", "paper", "thousand")}
"""Pages that take over a minute: a release runs them."""


@pytest.fixture
def optimized():
    """Programs compiled as users have them."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def by_cost():
    dearest = pytest.mark.release
    return [pytest.param(p, marks=[dearest] if name_of(p) in DEAREST else []) for p in PAGES]


@pytest.mark.slow
@pytest.mark.parametrize("page", by_cost(), ids=name_of)
def test_code_runs_and_prints_what_the_page_says(page, tmp_path, request):
    """Numbers are left out of the comparison: they differ in the last digits from one machine to
    another.
    """
    if "*Run on*" in page.read_text():
        pytest.skip("the page has never been run: docs/tools/run_page.py does it first")
    if re.search(r"^import (pyro|torch)", page.read_text(), re.MULTILINE):
        pytest.importorskip("torch", reason="the extra `pyro` is not installed")
    if name_of(page) in LONG:
        request.getfixturevalue("optimized")
    for block, printed in run_page.run(page, tmp_path):
        if block.output and not block.why:
            assert run_page.words(printed) == run_page.words(block.output), block.code
    pictures = re.findall(r"\]\(pictures/([^)]+)\)", page.read_text())
    assert [p for p in pictures if not (tmp_path / p).exists()] == []


def test_a_wrong_output_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint('one', 1.5)\n```\n\n```text\ntwo 2\n```\n")
    ((block, printed),) = run_page.run(page, tmp_path)
    assert run_page.words(printed) != run_page.words(block.output)


def test_the_source_of_a_function_is_found(tmp_path):
    page = tmp_path / "page.md"
    lines = "import inspect\n\n\ndef one():\n    return 1\n\n\nprint(inspect.getsource(one))\n"
    page.write_text(f"# Words\n\n```python\n{lines}```\n")
    ((_, printed),) = run_page.run(page, tmp_path)
    assert printed == "def one():\n    return 1"


def test_outputs_are_written_where_they_belong(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\na = 2\n```\n\nWords.\n\n```python\nprint(a * 3)\n```\n\n```text\nold\n```\n\n"
        "<!-- not run: no such name -->\n```python\nprint(nothing)\n```\n\n*Run on*\n"
    )
    run_page.rewrite(page)
    text = page.read_text()
    assert "```python\nprint(a * 3)\n```\n\n```text\n6\n```\n\n<!-- not run" in text
    assert text.startswith("```python\na = 2\n```\n\nWords.") and "*Run on " in text


COMMANDS = sorted(
    {
        line
        for p in (ROOT / "docs").rglob("*.md")
        for block in re.findall(r"^```bash\n(.*?)^```", p.read_text(), re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        if line.startswith("amortppl ")
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_exist(line):
    """Every option named is one that the command's help names."""
    from amortppl.cli.commands import app

    words = shlex.split(line, comments=True)[1:]
    shown = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [words[0], "--help"])
    assert shown.exit_code == 0, shown.output
    assert [w for w in words if w.startswith("--") and w not in shown.output] == []


def test_executed_pages_say_when():
    """A page with outputs says on which day they were made."""
    for page in (ROOT / "docs").rglob("*.md"):
        text = page.read_text()
        if any(b.output for b in run_page.blocks(text)):
            assert re.search(r"^\*Run on \d+ \w+ \d{4}\.\*$", text, re.MULTILINE), name_of(page)


def test_every_page_is_in_the_navigation():
    """As the build asks for it, and sooner."""
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")]
    assert [p for p in pages if not re.search(rf"[ :]{re.escape(p)}$", navigation, re.M)] == []
