"""One kind of source of rows a file."""
