"""Embeddings under evaluation: models, functions, hand-crafted baselines and precomputed arrays."""
