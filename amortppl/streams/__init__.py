"""Sources of rows, one kind a file, and what is done to their rows on the way to a guide."""
