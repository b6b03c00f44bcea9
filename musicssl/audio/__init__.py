"""Any audio to mono blocks at the model's rate: decode, mix, resample, check."""

from musicssl.audio.resample import RESAMPLERS, resampled_length
from musicssl.audio.source import AudioInput, Source, open_source

AUDIO_EXTENSIONS = frozenset(
    {
        # libsndfile
        *(".wav", ".wave", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd"),
        *(".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2"),
        # PyAV
        *(".m4a", ".m4b", ".aac", ".wma", ".mka", ".weba", ".ape", ".wv", ".ac3", ".amr", ".tta"),
        *(".mpc", ".dsf"),
    }
)

__all__ = [
    "AUDIO_EXTENSIONS",
    "RESAMPLERS",
    "AudioInput",
    "Source",
    "open_source",
    "resampled_length",
]
