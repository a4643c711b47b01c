"""Exact nearest-neighbour search, and an index over embeddings."""
