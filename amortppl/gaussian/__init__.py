"""Gaussian approximations and how mini-batches refine them."""
