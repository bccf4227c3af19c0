"""Pages that a colleague reads."""
