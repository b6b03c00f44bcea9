"""Any audio to mono blocks at the model's rate: decode, mix, resample, check."""

from musicssl.audio.formats import AUDIO_EXTENSIONS
from musicssl.audio.opening import AudioInput, open_source
from musicssl.audio.resample import RESAMPLERS, resampled_length
from musicssl.audio.source import Source

__all__ = [
    "AUDIO_EXTENSIONS",
    "RESAMPLERS",
    "AudioInput",
    "Source",
    "open_source",
    "resampled_length",
]
