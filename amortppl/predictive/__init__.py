"""Distributions of new rows, the readouts of the implicit and the explicit regime."""
