"""Reports of posteriors as HTML pages, and posteriors in NetCDF files."""
