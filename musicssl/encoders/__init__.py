"""The encoders, by the name that stands in a checkpoint's config.json."""

from musicssl.encoders.base import Encoder, EncoderConfig, Features, State
from musicssl.encoders.dilated import Dilated, DilatedConfig
from musicssl.encoders.pase import (
    Pase,
    PaseAttention,
    PaseAttentionConfig,
    PaseConfig,
    PasePlus,
    PasePlusConfig,
)

ENCODERS: dict[str, tuple[type[Encoder], type[EncoderConfig]]] = {
    "dilated": (Dilated, DilatedConfig),
    "pase": (Pase, PaseConfig),
    "pase_plus": (PasePlus, PasePlusConfig),
    "pase_attention": (PaseAttention, PaseAttentionConfig),
}

__all__ = [
    "ENCODERS",
    "Dilated",
    "DilatedConfig",
    "Encoder",
    "EncoderConfig",
    "Features",
    "Pase",
    "PaseAttention",
    "PaseAttentionConfig",
    "PaseConfig",
    "PasePlus",
    "PasePlusConfig",
    "State",
]
