"""A trained method on data: draws, predictions, streams, states."""
