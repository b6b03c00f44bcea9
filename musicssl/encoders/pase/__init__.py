"""PASE, PASE+ and a variant with attention, on the waveform."""

from musicssl.encoders.pase.encoders import (
    Pase,
    PaseAttention,
    PaseAttentionConfig,
    PaseConfig,
    PasePlus,
    PasePlusConfig,
)

__all__ = [
    "Pase",
    "PaseAttention",
    "PaseAttentionConfig",
    "PaseConfig",
    "PasePlus",
    "PasePlusConfig",
]
