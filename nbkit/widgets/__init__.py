"""Widgets: state, then compute, then view."""
