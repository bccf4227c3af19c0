"""How it is amortized: one method a file, its three functions and its paper."""
