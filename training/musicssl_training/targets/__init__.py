"""What the workers predict, measured in batched torch."""

from musicssl_training.targets.base import Target

__all__ = ["Target"]
