"""Rendered scores as an evaluation collection: a pack whose notes, beats and keys are known."""

from pathlib import Path

import numpy as np

from musicssl.errors import ConfigError
from musicssl_training.corpus.packed import RATE, check_audio, read_index
from musicssl_training.corpus.score import DRUMS, read_scores
from musicssl_training.corpus.version import FAMILIES
from musicssl_training.evaluation.collection import Clip, Collection, Column
from musicssl_training.evaluation.errors import DataError

ADVICE = "Make a pack with `musicssl-train render INDEX.csv PACK`."
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEYS = tuple(f"{name} {mode}" for mode in ("major", "minor") for name in NAMES)
TEMPO_BINS = 24  # classes an octave of tempo: the centre is at most 1.5 % away
SLOWEST, FASTEST = 30.0, 300.0  # BPM


def read_rendered(root: Path) -> Collection:
    """Read a pack of rendered scores.

    What is played is transposed and faster or slower than what is written; the labels are those of
    what is played.

    Columns: ``key`` ("C# minor"; "" where unknown), ``tempo`` (the centre of its class in BPM),
    ``family:NAME`` (whether such an instrument plays), ``group`` (the work, where the index says,
    else the path). Frame tasks take the notes and beats from `Collection.scores`.

    Raises
    ------
    DataError
        If it is no pack, or what sounds in it is not known.
    """
    try:
        rows = read_index(root)
        check_audio(root, rows)
        scores = tuple(read_scores(root, rows)) if rows else ()
    except ConfigError as error:
        raise DataError(f"rendered: {error}") from error
    if not rows:
        raise DataError(f"rendered: {root} holds no index.jsonl with recordings. {ADVICE}")
    clips = tuple(
        Clip(
            row["path"],
            root / "audio.i16",
            (row["start"], row["samples"], int(row.get("sample_rate", RATE))),
        )
        for row in rows
    )
    columns: dict[str, Column] = {
        "group": np.array([str(row.get("group") or row["path"]) for row in rows]),
        "key": np.array([KEYS[s.key] if s.key >= 0 else "" for s in scores]),
        "tempo": np.array([tempo_class(s.tempo) for s in scores]),
    }
    for family, programs in (FAMILIES | {"drums": (DRUMS,)}).items():
        played = [bool(np.isin(s.notes[:, 3], list(programs)).any()) for s in scores]
        columns[f"family:{family}"] = np.array(played, float)
    return Collection("rendered", clips, columns, scores, ADVICE)


def tempo_class(bpm: float) -> str:
    """Return the centre of a tempo's class, "" where it is unknown or nothing that one taps."""
    if not SLOWEST <= bpm <= FASTEST:
        return ""
    return f"{2 ** (round(TEMPO_BINS * np.log2(bpm)) / TEMPO_BINS):.2f}"
