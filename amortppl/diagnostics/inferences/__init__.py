"""Any inference as a function of datasets and keys: by name, as a callable, or a trained guide."""
