"""The evaluation tasks, one line each."""

from dataclasses import dataclass

from musicssl_training.evaluation.datasets import EMOTIONS
from musicssl_training.evaluation.protocol.labels import Labels, Multiclass, Multilabel, Regression
from musicssl_training.evaluation.protocol.tempo import Tempo


@dataclass(frozen=True)
class Task:
    """What is to be predicted from which recordings.

    Attributes
    ----------
    collection
        A key of `COLLECTIONS`.
    kind
        Type of the labels.
    labels
        Columns, or patterns such as ``tag:*``; at frame level a key of `FRAME_LABELS`.
    groups
        Columns that together name a group, which must not be on both sides of a split; none:
        every item is its own group.
    metrics
        Keys of `METRICS`; the first leads and selects hyper-parameters.
    level
        "clip" or "frame".
    """

    collection: str
    kind: type[Labels]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    metrics: tuple[str, ...]
    level: str = "clip"


TEMPO = ("accuracy1", "accuracy2")
TAGS = ("roc_auc", "average_precision")
FRAMES = TAGS[::-1]
CLASSES = ("accuracy", "macro_f1")
NOTE = ("pitch_class", "octave")
TASKS: dict[str, Task] = {
    "genre": Task("emotify", Multiclass, ("genre",), ("artist",), CLASSES),
    "emotions": Task("emotify", Regression, EMOTIONS, ("artist",), ("pearson_r",)),
    "emotion tags": Task("emotify", Multilabel, ("felt:*",), ("artist",), TAGS),
    "drum class": Task("drum_machines", Multiclass, ("class",), ("machine",), CLASSES),
    "instrument": Task("orchestra_notes", Multiclass, ("instrument",), NOTE, CLASSES),
    "pitch class": Task("orchestra_notes", Multiclass, ("pitch_class",), ("instrument",), CLASSES),
    "octave": Task("orchestra_notes", Multiclass, ("octave",), ("instrument",), CLASSES),
    "key": Task("rendered", Multiclass, ("key",), ("group",), ("mirex", "accuracy")),
    "tempo": Task("rendered", Tempo, ("tempo",), ("group",), TEMPO),
    "instrument families": Task("rendered", Multilabel, ("family:*",), ("group",), TAGS[::-1]),
    "onsets": Task("rendered", Multilabel, ("onsets",), ("group",), FRAMES, "frame"),
    "beats": Task("rendered", Multilabel, ("beats",), ("group",), FRAMES, "frame"),
    "sounding pitch classes": Task(
        "rendered", Multilabel, ("pitch_classes",), ("group",), FRAMES, "frame"
    ),
    "GTZAN genre": Task("gtzan", Multiclass, ("genre",), (), CLASSES),
    "MagnaTagATune tags": Task("magnatagatune", Multilabel, ("tag:*",), (), TAGS),
    "NSynth pitch": Task("nsynth", Multiclass, ("pitch",), ("instrument",), ("accuracy",)),
    "NSynth instrument": Task("nsynth", Multiclass, ("family",), ("instrument",), CLASSES),
    "GiantSteps key": Task("giantsteps", Multiclass, ("key",), (), ("mirex", "accuracy")),
    "EMO": Task("emo", Regression, ("valence", "arousal"), ("group",), ("r2", "pearson_r")),
    "MTG-Jamendo tags": Task("jamendo", Multilabel, ("tag:*",), ("artist",), TAGS),
    "FMA-small genre": Task("fma_small", Multiclass, ("genre",), ("artist",), CLASSES),
    "VocalSet technique": Task("vocalset", Multiclass, ("technique",), ("singer",), CLASSES),
    "VocalSet singer": Task("vocalset", Multiclass, ("singer",), (), CLASSES),
    "Ballroom dance": Task("ballroom", Multiclass, ("genre",), (), CLASSES),
    "Ballroom tempo": Task("ballroom", Tempo, ("tempo",), (), TEMPO),
}
