"""Distributions of new rows: what the implicit and the explicit regime read out. One idea a
file.
"""
