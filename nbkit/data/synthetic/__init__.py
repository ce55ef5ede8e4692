"""A synthetic shop drawn by code, in which everything that is noise is known."""
