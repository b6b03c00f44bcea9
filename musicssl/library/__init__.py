"""Folders of embeddings, read back as a matrix and a table."""

from musicssl.library.loading import load_embeddings
from musicssl.library.table import EmbeddingTable

__all__ = ["EmbeddingTable", "load_embeddings"]
