"""Rows coming in: datasets, columns, checks, mini-batches."""
