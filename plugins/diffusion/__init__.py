"""Diffusion models on their own: teachers, priors."""
