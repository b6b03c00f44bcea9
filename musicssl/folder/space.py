"""Comparison of a folder's embedding space with the one that is asked for."""

from dataclasses import asdict
from typing import Any

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


def differences(found: dict[str, Any], space: Space, kind: str) -> list[str]:
    """Return, one phrase each, how a folder's space and format differ from those asked for."""
    asked = asdict(space) | {"layers": list(space.layers), "format": kind}
    return [
        f"{name} is {found[name] or 'empty'} there, {asked[name]} was asked for"
        for name in _COMPARED
        if found[name] != asked[name]
    ]
