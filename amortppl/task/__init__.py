"""A model read as a family of datasets."""
