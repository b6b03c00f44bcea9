"""Collections of labeled recordings, by name."""

from collections.abc import Callable
from pathlib import Path

from musicssl_training.evaluation.datasets.collection import Audio, Clip, Collection, Column
from musicssl_training.evaluation.datasets.folders import (
    EMOTIONS,
    read_drum_machines,
    read_emotify,
    read_items,
    read_orchestra_notes,
)
from musicssl_training.evaluation.datasets.public import (
    read_ballroom,
    read_emo,
    read_fma_small,
    read_giantsteps,
    read_gtzan,
    read_jamendo,
    read_magnatagatune,
    read_nsynth,
    read_vocalset,
)
from musicssl_training.evaluation.datasets.rendered import read_rendered

__all__ = ["COLLECTIONS", "EMOTIONS", "Audio", "Clip", "Collection", "Column", "read_items"]

COLLECTIONS: dict[str, Callable[[Path], Collection]] = {
    "emotify": read_emotify,
    "drum_machines": read_drum_machines,
    "orchestra_notes": read_orchestra_notes,
    "rendered": read_rendered,
    "gtzan": read_gtzan,
    "magnatagatune": read_magnatagatune,
    "nsynth": read_nsynth,
    "giantsteps": read_giantsteps,
    "emo": read_emo,
    "jamendo": read_jamendo,
    "fma_small": read_fma_small,
    "vocalset": read_vocalset,
    "ballroom": read_ballroom,
}
