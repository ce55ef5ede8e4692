"""Diffusion apart from any recommender: the noise schedule, the Gaussian process and the networks that undo it."""
