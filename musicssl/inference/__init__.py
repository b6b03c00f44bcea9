"""Audio to embeddings with any model: options, chunks, batches, results."""
