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
