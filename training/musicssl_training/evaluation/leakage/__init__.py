"""Leakage checks: labeled music must not be in the pre-training corpus."""
