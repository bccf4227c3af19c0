"""The choice between models or simulators: which of them made a dataset."""
