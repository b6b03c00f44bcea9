"""Model, settings and versions of a run, as every line of its manifest has them."""

import contextlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from musicssl import __version__
from musicssl.inference.options import Settings
from musicssl.model import MusicEncoder
from musicssl.pooling import POOLINGS
from musicssl.space import Space


def describe_vectors(model: MusicEncoder, settings: Settings) -> dict[str, Any]:
    """Return what space.json says of the vectors beside their space."""
    dim = model.encoder.dim * len(settings.layers) * POOLINGS[settings.pooling].factor
    return {"dim": dim, "frame_rate": model.frame_rate, "sample_rate": model.sample_rate}


def describe_run(
    model: MusicEncoder, settings: Settings, space: Space, space_id: str
) -> dict[str, Any]:
    """Return what every line of a run's manifest has in common."""
    versions = {"musicssl": __version__}
    for name in ("torch", space.resampler):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "space": space_id,
        "model": {
            "id": space.model,
            "revision": model.revision,
            "weights_sha256": space.weights_sha256,
        },
        "settings": {
            "level": space.level,
            "pooling": space.pooling,
            **({} if space.window is None else {"window": space.window, "hop": space.hop}),
            "layers": list(space.layers),
            "resampler": space.resampler,
            "device": str(model.device),
            "dtype": str(settings.dtype).removeprefix("torch."),
            "batch_seconds": settings.batch_seconds,
            "chunk_seconds": settings.chunk_seconds,
        },
        "versions": versions,
    }
