"""Evaluation protocol: labels, splits, probes, metrics and bootstrap intervals."""
