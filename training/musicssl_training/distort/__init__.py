"""Distortions of what the encoder hears; targets stay clean."""

from musicssl_training.distort.spectrum import DistortConfig, distort

__all__ = ["DistortConfig", "distort"]
