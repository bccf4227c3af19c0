"""Random models, and what must hold of each: refused with one clear error, or read rightly."""
