"""Training across simulated tasks."""
