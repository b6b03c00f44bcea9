"""The pretext tasks and the selections of them, by the names that stand in a run's settings."""

from musicssl_training.targets import TARGETS
from musicssl_training.teachers import TEACHERS
from musicssl_training.workers import score
from musicssl_training.workers.base import Worker, WorkerConfig
from musicssl_training.workers.contrastive import (
    Contrastive,
    ContrastiveConfig,
    Segments,
    SegmentsConfig,
)
from musicssl_training.workers.equivariance import Transposition, TranspositionConfig
from musicssl_training.workers.masked import Masked, MaskedConfig
from musicssl_training.workers.pairing import Gim, GimConfig, Lim, LimConfig, Spc, SpcConfig
from musicssl_training.workers.regression import Regression, RegressionConfig
from musicssl_training.workers.teacher import PREFIX
from musicssl_training.workers.waveform import Waveform, WaveformConfig, WaveformSpectra

WORKERS: dict[str, tuple[type[Worker], type[WorkerConfig]]] = {
    **{name: (Regression, RegressionConfig) for name in TARGETS},  # of the target of that name
    "waveform": (Waveform, WaveformConfig),
    "waveform_stft": (WaveformSpectra, WaveformConfig),
    "lim": (Lim, LimConfig),
    "gim": (Gim, GimConfig),
    "spc": (Spc, SpcConfig),
    "contrast": (Contrastive, ContrastiveConfig),
    "segments": (Segments, SegmentsConfig),
    "masked": (Masked, MaskedConfig),
    "transposition": (Transposition, TranspositionConfig),
    "piano_roll": (score.PianoRoll, score.ScoreConfig),
    "families": (score.Families, score.ScoreConfig),
    "beats": (score.Beats, score.ScoreConfig),
    "tempo": (score.Tempo, score.ScoreConfig),
    "key": (score.Key, score.ScoreConfig),
    "chord": (score.Chord, score.ScoreConfig),
    "style": (score.Style, score.ScoreConfig),
}
# who needs to know more than the sound: cards and reports name them apart
SCORE_WORKERS = tuple(
    name
    for name, (kind, _) in WORKERS.items()
    if issubclass(kind, score.MultiLabel | score.MultiClass)
)
BY_NAME = ("style",)  # part of no selection: a label by people, which a run is to ask for

SELECTIONS: dict[str, tuple[str, ...]] = {
    # the seven and the twelve of PASE and PASE+ (Pascual et al., 2019; Ravanelli et al., 2020)
    "speech": ("waveform", "lps", "mfcc", "prosody", "lim", "gim", "spc"),
    "pase_plus": (
        "waveform",
        "lps",
        "lps_long",
        "mfcc",
        "mfcc_long",
        "log_mel",
        "log_mel_long",
        "gammatone",
        "gammatone_long",
        "prosody",
        "lim",
        "gim",
    ),
    "music": (
        "notes",
        "chroma",
        "salience",
        "onsets",
        "tempogram",
        "tempogram_fourier",
        "beat_pulse",
        "contrast_bands",
        "harmonic_percussive",
        "loudness",
        "contrast",
    ),
    "score": ("piano_roll", "families", "beats", "tempo", "key", "chord"),
    "all": tuple(name for name in WORKERS if name not in BY_NAME),
    "teachers": tuple(f"{PREFIX}{name}" for name in TEACHERS),  # no part of "all"
}
