"""No answer without its check."""
