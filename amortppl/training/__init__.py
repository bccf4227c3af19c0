"""Simulating tasks, training a method on them, and the record of it."""
