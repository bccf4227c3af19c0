"""Simulators in Python, the priors that feed them, and simulations kept on disk. Nothing here knows
of tasks.
"""
