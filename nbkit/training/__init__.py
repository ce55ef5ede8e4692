"""Fitting: one loop, its checkpoint, its callbacks."""
