"""The figures of docs/paper.md: `python docs/paper run`, then `tables` and `figures`."""
