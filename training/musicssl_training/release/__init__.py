"""Checkpoint folders with their model cards."""
