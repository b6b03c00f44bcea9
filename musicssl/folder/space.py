"""Embedding spaces: all that makes embeddings comparable."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # they need torch, which reading a folder does without
    from musicssl.inference.options import Settings
    from musicssl.model import MusicEncoder


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

    @classmethod
    def of(
        cls,
        model: "MusicEncoder",
        settings: "Settings",
        *,
        resampler: str = "soxr",
        mono: str = "mean",
    ) -> "Space":
        """Return the space of what a model gives."""
        from musicssl.checkpoint.hashing import hash_weights

        return cls(
            model=model.model_id,
            weights_sha256=model.weights_sha256 or hash_weights(model.state_dict()),
            level="frame" if settings.pooling == "none" else "clip",
            pooling=settings.pooling,
            layers=settings.layers,
            resampler=resampler,
            mono=mono,
        )

    @property
    def id(self) -> str:
        """Short name, such as ``musicssl-small@3fa2b1c9/clip/meanstd/layers=2+5+8/soxr``."""
        name = self.model.rstrip("/").rpartition("/")[2]
        pooled = [self.level] if self.level == "frame" else [self.level, self.pooling]
        layers = "+".join(map(str, self.layers))
        mono = [] if self.mono == "mean" else [f"mono={self.mono}"]
        parts = [f"{name}@{self.weights_sha256[:8]}", *pooled, f"layers={layers}", self.resampler]
        return "/".join(parts + mono)


def differences(found: dict[str, Any], space: Space, kind: str) -> list[str]:
    """Return, one phrase each, how a folder's space and format differ from those asked for."""
    asked = asdict(space) | {"layers": list(space.layers), "format": kind}
    return [
        f"{name} is {found[name] or 'empty'} there, {asked[name]} was asked for"
        for name in ("weights_sha256", "level", "pooling", "layers", "resampler", "mono", "format")
        if found[name] != asked[name]
    ]
