"""The figures of docs/paper.md: `python -m docs.paper.run --help`."""
