"""Quantizers that indexes compress embeddings with: a lattice on the sphere, and spreading vectors before it."""
