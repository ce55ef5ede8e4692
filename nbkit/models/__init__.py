"""The recommenders, one paper a file."""
