"""Embedding on a Ray cluster; needs ``pip install 'musicssl[ray]'``."""

from musicssl.ray.engine import RayEngine, embed

__all__ = ["RayEngine", "embed"]
