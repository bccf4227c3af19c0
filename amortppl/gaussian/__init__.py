"""Gaussian approximations of a posterior, and how mini-batches refine them."""
