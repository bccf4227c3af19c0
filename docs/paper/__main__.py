"""Runs a module of this folder: `python docs/paper run --only line5/implicit`."""

import sys
from importlib import import_module
from pathlib import Path

PARTS = (
    "run", "extras", "generation", "instances", "stream", "sites", "tables", "figures", "account",
)  # fmt: skip

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))
    asked = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if asked not in PARTS:
        sys.exit(f"expected one of {', '.join(PARTS)}, got {asked!r}")
    import_module(f"paper.{asked}").main()
