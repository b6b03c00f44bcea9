"""How to embed: what callers may choose, and every choice made."""

from dataclasses import dataclass
from typing import Any

import torch

from musicssl import arguments
from musicssl.errors import ConfigError, pick, shown
from musicssl.inference.device import DTYPES
from musicssl.pooling import POOLINGS

LEVELS = {"clip": True, "frame": False}  # whether frames are pooled


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to embed, every choice made.

    Raises
    ------
    ConfigError
        For a value that does not exist.
    """

    pooling: str  # a key of POOLINGS; "none" gives frames
    layers: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    chunk_seconds: float = 120.0  # infinite: all in one piece
    batch_seconds: float = 30.0
    batch_size: int = 1024  # chunks

    def __post_init__(self) -> None:
        pick(POOLINGS, self.pooling, "pooling")
        if not isinstance(self.dtype, torch.dtype) or self.dtype not in DTYPES.values():
            raise ConfigError(
                "dtype must be torch.float32, torch.float16 or torch.bfloat16, "
                f"got {shown(self.dtype, kind=True)}."
            )
        plain: dict[str, Any] = {
            "layers": tuple(arguments.integers(self.layers, "layers")),
            "batch_size": arguments.integer(self.batch_size, "batch_size"),
        }
        for name in ("chunk_seconds", "batch_seconds"):
            plain[name] = arguments.number(getattr(self, name), name, finite=False)
        for name, value in plain.items():
            object.__setattr__(self, name, value)


def pick_pooling(level: str, pooling: str | None, default: str) -> str:
    """Return the pooling of a level.

    Raises
    ------
    ConfigError
        If one does not exist or they do not fit each other.
    """
    pooled = pick(LEVELS, level, "level")
    if pooling is not None:
        pick(POOLINGS, pooling, "pooling")
    if pooled:
        return pooling or default
    if pooling not in (None, "none"):
        raise ConfigError(f"level='frame' does not pool, but pooling={pooling!r} was given.")
    return "none"


def check_chunks(settings: Settings, hop: int, sample_rate: int) -> Settings:
    """Return the settings if chunks hold a frame.

    Raises
    ------
    ConfigError
        If they do not.
    """
    if settings.chunk_seconds * sample_rate < hop:
        raise ConfigError(
            f"chunk_seconds must be at least one frame, {hop / sample_rate:g} s, or inf for all "
            f"in one piece, got {settings.chunk_seconds:g}."
        )
    return settings
