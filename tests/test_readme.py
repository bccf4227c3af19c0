"""The README's code runs as it stands, its commands exist, and its links lead somewhere."""

import re
import runpy
import shlex
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]


@pytest.mark.slow
def test_python_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """As one script, as a reader would paste it."""
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readme.py").write_text("\n".join(blocks("python")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_path("readme.py", run_name="__main__")
    assert (tmp_path / "guides" / "regression" / "guide.json").is_file()


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
