"""Below all of statistics: compilation, JAX's internals, devices, files, progress."""
