"""Search by similarity: the nearest neighbors of music among embeddings."""

from musicssl.search.index import Index
from musicssl.search.neighbors import Neighbor

__all__ = ["Index", "Neighbor"]
