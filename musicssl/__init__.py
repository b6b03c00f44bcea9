"""Music embeddings: any music in, vectors out.

>>> import musicssl
>>> vector = musicssl.get_embedding("song.flac")  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING, Any

from musicssl.errors import (
    AudioError,
    ConfigError,
    DependencyError,
    FrozenModelWarning,
    ModelError,
    MusicSSLError,
    OutputError,
)

if TYPE_CHECKING:
    from musicssl.checkpoint.bundled import ModelInfo, list_models
    from musicssl.embed import get_embedding
    from musicssl.folder.api import embed_folder
    from musicssl.frames import frame_times
    from musicssl.inference.results import Embedding
    from musicssl.inference.segments import pool
    from musicssl.library import EmbeddingTable, load_embeddings
    from musicssl.model import MusicEncoder, load_model
    from musicssl.search import Index, Neighbor
    from musicssl.segments import Segment, read_segments
    from musicssl.stream import Stream

__version__ = "0.1.0"

_HOMES = {
    "Embedding": "inference.results",
    "EmbeddingTable": "library",
    "Index": "search",
    "ModelInfo": "checkpoint.bundled",
    "MusicEncoder": "model",
    "Neighbor": "search",
    "Segment": "segments",
    "Stream": "stream",
    "embed_folder": "folder.api",
    "frame_times": "frames",
    "get_embedding": "embed",
    "list_models": "checkpoint.bundled",
    "load_embeddings": "library",
    "load_model": "model",
    "pool": "inference.segments",
    "read_segments": "segments",
}

__all__ = [
    "AudioError",
    "ConfigError",
    "DependencyError",
    "Embedding",
    "EmbeddingTable",
    "FrozenModelWarning",
    "Index",
    "ModelError",
    "ModelInfo",
    "MusicEncoder",
    "MusicSSLError",
    "Neighbor",
    "OutputError",
    "Segment",
    "Stream",
    "embed_folder",
    "frame_times",
    "get_embedding",
    "list_models",
    "load_embeddings",
    "load_model",
    "pool",
    "read_segments",
]


def __getattr__(name: str) -> Any:
    """Load what needs torch or numpy on first use: ``import musicssl`` stays instant."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"musicssl.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'musicssl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
