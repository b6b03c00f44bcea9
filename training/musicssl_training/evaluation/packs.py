"""Rendered scores as an evaluation collection: a pack whose notes, beats and keys are known."""

from pathlib import Path

import numpy as np

from musicssl.errors import MusicSSLError
from musicssl_training.corpus import score as truth
from musicssl_training.corpus.midi import FAMILIES
from musicssl_training.corpus.packed import check_audio, read_index
from musicssl_training.corpus.score import DRUMS, Score
from musicssl_training.evaluation.collection import Clip, Collection, Column
from musicssl_training.evaluation.errors import DataError

ADVICE = "Make a pack with `musicssl-train render INDEX.csv PACK`."
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEYS = tuple(f"{name} {mode}" for mode in ("major", "minor") for name in NAMES)
TEMPO_BINS = 24  # classes an octave of tempo: the centre is at most 1.5 % away
RATE = 22_050  # Hz, of packs that do not say


def read_rendered(root: Path) -> Collection:
    """Read a pack of rendered scores.

    Columns: ``key`` ("C# minor"; "" where unknown), ``tempo`` (the centre of its class in BPM),
    ``family:NAME`` (whether such an instrument plays), ``group`` (the work, where the index says,
    else the path). Frame tasks take the notes and beats from `Collection.scores`.

    Raises
    ------
    DataError
        If it is no pack, or the index has no truth.
    """
    try:
        rows = read_index(root)
        check_audio(root, rows)
    except MusicSSLError as error:
        raise DataError(f"rendered: {error}") from error
    if not rows:
        raise DataError(f"rendered: {root} holds no index.jsonl with recordings. {ADVICE}")
    scores = _scores(root, rows)
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


def _scores(root: Path, rows: list[dict[str, object]]) -> tuple[Score, ...]:
    """Return what truly sounds in every recording of a pack."""
    read = getattr(truth, "read_scores", None)
    if read is None:
        raise DataError(
            f"rendered: {root} cannot be used: this version writes no notes, beats and keys beside "
            "rendered packs."
        )
    found: tuple[Score, ...] = tuple(read(root, rows))
    return found


def tempo_class(bpm: float) -> str:
    """Return the centre of a tempo's class, "" where it is unknown."""
    if not bpm > 0:
        return ""
    return f"{2 ** (round(TEMPO_BINS * np.log2(bpm)) / TEMPO_BINS):.2f}"
