"""Loader for packs of rendered scores, whose notes, beats and keys are known exactly."""

from pathlib import Path

import numpy as np

from musicssl.errors import ConfigError
from musicssl_training.data.recordings import RATE, check_audio, read_index
from musicssl_training.evaluation.datasets.collection import Clip, Collection, Column
from musicssl_training.evaluation.errors import DataError
from musicssl_training.midi.score import read_scores
from musicssl_training.midi.theory import DRUMS, FAMILIES, KEYS

ADVICE = "Make a pack with `musicssl-train render INDEX.csv PACK`."


def read_rendered(root: Path) -> Collection:
    """Load a pack of rendered scores.

    Renderings are transposed and stretched in time; the labels describe the rendering, not the
    written score.

    Columns: ``key`` ("C# minor"; "" if unknown), ``tempo`` (BPM; 0 if unknown),
    ``family:NAME`` (1 if an instrument of that family plays), ``group`` (the work if the index
    names it, otherwise the path). Frame tasks read notes and beats from
    `Collection.musical_scores`.

    Raises
    ------
    DataError
        If it is not a pack, or its notes are not known.
    """
    try:
        rows = read_index(root)
        check_audio(root, rows)
        scores = tuple(read_scores(root, rows)) if rows else ()
    except ConfigError as error:
        raise DataError(f"rendered: {error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"rendered: {root}: index.jsonl or scores.jsonl holds what no pack does ({error!r}). "
            "Delete the pack and make it again."
        ) from error
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
        "tempo": np.array([s.tempo for s in scores]),
    }
    for family, programs in (FAMILIES | {"drums": (DRUMS,)}).items():
        played = [bool(np.isin(s.notes[:, 3], list(programs)).any()) for s in scores]
        columns[f"family:{family}"] = np.array(played, float)
    return Collection("rendered", clips, columns, scores, ADVICE)
