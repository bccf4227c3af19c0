"""Regression formulas read as NumPyro programs."""
