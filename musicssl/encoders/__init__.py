"""The encoders, by the name that stands in a checkpoint's config.json."""

from musicssl.encoders.base import Encoder, EncoderConfig
from musicssl.encoders.dilated import Dilated, DilatedConfig

ENCODERS: dict[str, tuple[type[Encoder], type[EncoderConfig]]] = {
    "dilated": (Dilated, DilatedConfig),
}

__all__ = ["ENCODERS", "Dilated", "DilatedConfig", "Encoder", "EncoderConfig"]
