"""Augmentations of the encoder's input; targets stay clean."""

from musicssl_training.augment.isolated import isolate
from musicssl_training.augment.masked_blocks import (
    MaskConfig,
    draw_blocks,
    masked_frames,
    silence_audio,
    silence_spectra,
    silent_frames,
)
from musicssl_training.augment.spectrogram import (
    AugmentedSpectra,
    SpectrogramAugmentConfig,
    augment_spectrogram,
)
from musicssl_training.augment.waveform import (
    AugmentedAudio,
    WaveformAugmentConfig,
    augment_waveform,
)

__all__ = [
    "AugmentedAudio",
    "AugmentedSpectra",
    "MaskConfig",
    "SpectrogramAugmentConfig",
    "WaveformAugmentConfig",
    "augment_spectrogram",
    "augment_waveform",
    "draw_blocks",
    "isolate",
    "masked_frames",
    "silence_audio",
    "silence_spectra",
    "silent_frames",
]
