"""The README's commands exist, and its links lead somewhere; tests/docs runs its code."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("line", [c for c in COMMANDS if "amortppl " in c])
def test_commands_exist(line):
    """Every option named is one that the command's help names."""
    from amortppl.cli.commands import app

    words = shlex.split(line[line.index("amortppl ") :])[1:]
    shown = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [words[0], "--help"])
    assert shown.exit_code == 0, shown.output
    for option in (w for w in words if w.startswith("--")):
        assert option in shown.output


def test_other_commands_are_the_usual_ones():
    for line in COMMANDS:
        for part in line.split("&&"):
            assert shlex.split(part)[0] in ("amortppl", "uv", "python3")


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!http)[^)]+)\)", TEXT))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_models_named_exist():
    from amortppl import catalogue

    for name in re.findall(r"amortppl train (\w+)", TEXT):
        assert name in catalogue.names("models")
