"""Embedding spaces: all that makes embeddings comparable."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # they need torch, which reading a folder does without
    from musicssl.inference.options import Settings
    from musicssl.network import Network


@dataclass(frozen=True, kw_only=True)
class Space:
    """All that decides whether two embeddings can be compared."""

    model: str
    weights_sha256: str
    level: str
    pooling: str
    layers: tuple[int, ...]
    resampler: str
    mono: str = "mean"
    window: float | None = None  # seconds, and so is hop
    hop: float | None = None

    @classmethod
    def of(
        cls,
        model: "Network",
        settings: "Settings",
        *,
        resampler: str = "soxr",
        mono: str = "mean",
    ) -> "Space":
        """Return the space of what a model gives."""
        from musicssl.checkpoint.hashing import weights_sha256

        return cls(
            model=model.model_id,
            weights_sha256=weights_sha256(model),
            level=settings.level,
            pooling=settings.pooling,
            layers=settings.layers,
            resampler=resampler,
            mono=mono,
            window=settings.window,
            hop=settings.hop,
        )

    @property
    def id(self) -> str:
        """Short name, such as ``musicssl-small@3fa2b1c9/clip/meanstd/layers=2+5+8/soxr``."""
        name = self.model.rstrip("/").rpartition("/")[2]
        pooled = [self.level] if self.level == "frame" else [self.level, self.pooling]
        if self.window is not None:
            pooled = [f"window={self.window:g}", f"hop={self.hop:g}", self.pooling]
        layers = "+".join(map(str, self.layers))
        mono = [] if self.mono == "mean" else [f"mono={self.mono}"]
        parts = [f"{name}@{self.weights_sha256[:8]}", *pooled, f"layers={layers}", self.resampler]
        return "/".join(parts + mono)
