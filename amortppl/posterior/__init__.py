"""A trained method on data: draws, predictions, streams of mini-batches, and states."""
