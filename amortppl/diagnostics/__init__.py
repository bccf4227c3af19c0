"""What to look at after inference: the report of a posterior."""
