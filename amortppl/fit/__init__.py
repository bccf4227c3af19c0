"""Posteriors of one dataset with nothing trained: frame, importance weights, ladder."""
