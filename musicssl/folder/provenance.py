"""Model, settings and versions of a run: what a folder says of them, and where another differs."""

import contextlib
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from musicssl import __version__
from musicssl.inference.options import Settings
from musicssl.model import MusicEncoder
from musicssl.pooling import POOLINGS
from musicssl.space import Space

_COMPARED = (
    "weights_sha256",
    "level",
    "pooling",
    "window",
    "hop",
    "layers",
    "resampler",
    "mono",
    "format",
)


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


def differences(found: dict[str, Any], space: Space, kind: str) -> list[str]:
    """Return, one phrase each, how a folder's space and format differ from those asked for.

    Other weights are told by the model's name, if that is another too.
    """
    asked = asdict(space) | {"layers": list(space.layers), "format": kind}
    differ = [name for name in _COMPARED if found[name] != asked[name]]
    if "weights_sha256" in differ and found["model"] != asked["model"]:
        differ[differ.index("weights_sha256")] = "model"
    return [
        f"{name} is {found[name] or 'empty'} there, {asked[name]} was asked for" for name in differ
    ]
