"""Evaluation of frozen and fine-tuned embeddings on downstream tasks."""
