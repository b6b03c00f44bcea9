"""The tasks: one line each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from musicssl_training.evaluation import folders, packs, published
from musicssl_training.evaluation.collection import Collection
from musicssl_training.evaluation.folders import EMOTIONS


@dataclass(frozen=True)
class Task:
    """What is to be predicted of which sounds.

    Attributes
    ----------
    collection
        A key of `COLLECTIONS`.
    kind
        "classes", "numbers" or "tags"; "frames" for tags of every frame.
    labels
        Columns, or patterns such as ``tag:*``; of frames a key of `FRAMEWISE`.
    groups
        Columns that together name what may not be on both sides; none: every item by itself.
    metrics
        Keys of `METRICS`; the first leads and chooses hyper-parameters.
    """

    collection: str
    kind: str
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    metrics: tuple[str, ...]


COLLECTIONS: dict[str, Callable[[Path], Collection]] = {
    "emotify": folders.read_emotify,
    "drum_machines": folders.read_drum_machines,
    "orchestra_notes": folders.read_orchestra_notes,
    "rendered": packs.read_rendered,
    "gtzan": published.read_gtzan,
    "magnatagatune": published.read_magnatagatune,
    "nsynth": published.read_nsynth,
    "giantsteps": published.read_giantsteps,
    "emo": published.read_emo,
    "jamendo": published.read_jamendo,
    "fma_small": published.read_fma_small,
    "vocalset": published.read_vocalset,
    "ballroom": published.read_ballroom,
}

TEMPO = ("accuracy1", "accuracy2")
AUC = ("roc_auc", "pr_auc")
NAMED = ("accuracy", "macro_f1")
NOTE = ("pitch_class", "octave")
TASKS: dict[str, Task] = {
    "genre": Task("emotify", "classes", ("genre",), ("artist",), NAMED),
    "emotions": Task("emotify", "numbers", EMOTIONS, ("artist",), ("r",)),
    "emotion tags": Task("emotify", "tags", ("felt:*",), ("artist",), AUC),
    "drum class": Task("drum_machines", "classes", ("class",), ("machine",), NAMED),
    "instrument": Task("orchestra_notes", "classes", ("instrument",), NOTE, NAMED),
    "pitch class": Task("orchestra_notes", "classes", ("pitch_class",), ("instrument",), NAMED),
    "octave": Task("orchestra_notes", "classes", ("octave",), ("instrument",), NAMED),
    "key": Task("rendered", "classes", ("key",), ("group",), ("mirex", "accuracy")),
    "tempo": Task("rendered", "classes", ("tempo",), ("group",), TEMPO),
    "instrument families": Task("rendered", "tags", ("family:*",), ("group",), AUC[::-1]),
    "onsets": Task("rendered", "frames", ("onsets",), ("group",), AUC[::-1]),
    "beats": Task("rendered", "frames", ("beats",), ("group",), AUC[::-1]),
    "sounding pitch classes": Task("rendered", "frames", ("pitch_classes",), ("group",), AUC[::-1]),
    "GTZAN genre": Task("gtzan", "classes", ("genre",), (), NAMED),
    "MagnaTagATune tags": Task("magnatagatune", "tags", ("tag:*",), (), AUC),
    "NSynth pitch": Task("nsynth", "classes", ("pitch",), ("instrument",), ("accuracy",)),
    "NSynth instrument": Task("nsynth", "classes", ("family",), ("instrument",), NAMED),
    "GiantSteps key": Task("giantsteps", "classes", ("key",), (), ("mirex", "accuracy")),
    "EMO": Task("emo", "numbers", ("valence", "arousal"), ("group",), ("r2", "r")),
    "MTG-Jamendo tags": Task("jamendo", "tags", ("tag:*",), ("artist",), AUC),
    "FMA-small genre": Task("fma_small", "classes", ("genre",), ("artist",), NAMED),
    "VocalSet technique": Task("vocalset", "classes", ("technique",), ("singer",), NAMED),
    "VocalSet singer": Task("vocalset", "classes", ("singer",), (), NAMED),
    "Ballroom dance": Task("ballroom", "classes", ("genre",), (), NAMED),
    "Ballroom tempo": Task("ballroom", "classes", ("tempo",), (), TEMPO),
}
