"""Recordings that are in a corpus twice, or among labelled music."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl_training.data.teaching import Lessons
from musicssl_training.evaluation.datasets import COLLECTIONS, Collection
from musicssl_training.evaluation.leakage.check import find_by_name, index_clips
from musicssl_training.evaluation.leakage.fingerprint import (
    HOP,
    SAMPLE_RATE,
    UNCHANGED,
    LandmarkIndex,
    Landmarks,
)
from musicssl_training.midi.score import Score
from musicssl_training.progress import track

CLIP = 20.0  # seconds from the middle of a recording, by which the others know it
SAME_SHARE = 0.1  # of its landmarks: encodings at low bit rates share 0.14, other music 0.001
SHIFT = 2.0  # seconds by which one encoding may begin later than another
Row = dict[str, Any]
Fingerprint = Callable[[Row], Landmarks]


def find_duplicates(rows: Sequence[Row], fingerprint: Fingerprint) -> dict[int, str]:
    """Return the recordings that are an earlier one once more, with the reason.

    The same content, or the same recording in another encoding: as long, and alike at the same
    places. Other versions of a piece, remixes and stems are not.

    Parameters
    ----------
    rows
        Of the recordings; path, sha256 and seconds, and of sums of stems ``mixed``.
    fingerprint
        Gives the landmarks of one.
    """
    found: dict[int, str] = {}
    first: dict[str, int] = {}
    for number, row in enumerate(rows):
        same = first.setdefault(row["sha256"], number)
        if same != number:
            found[number] = f"the same content as {rows[same]['path']}"
    if len(rows) < 2:
        return found
    index = LandmarkIndex([_middle(fingerprint(row), row["seconds"]) for row in rows])
    for number, row in enumerate(rows):
        if number in found:
            continue
        for match in index.match(fingerprint(row), (UNCHANGED,)):
            other = rows[match.clip]
            near = abs(other["seconds"] - row["seconds"]) <= max(SHIFT, 0.02 * row["seconds"])
            if match.clip <= number or match.clip in found or index.too_few[match.clip]:
                continue
            if row.get("mixed") and row["mixed"] == other.get("mixed"):
                continue  # with and without some of the same stems
            if near and match.share >= SAME_SHARE and abs(match.second) <= SHIFT:
                share = f"{match.share:.0%} of its fingerprint"
                found[match.clip] = f"the same recording as {row['path']} ({share})"
    return found


def _middle(landmarks: Landmarks, seconds: float) -> Landmarks:
    """Return the landmarks of the clip in the middle of a recording, at their times in it."""
    middle, half = seconds / 2 * SAMPLE_RATE / HOP, CLIP / 2 * SAMPLE_RATE / HOP
    kept = np.abs(landmarks.frames - middle) <= half
    names = [field.name for field in fields(Landmarks)]
    return Landmarks(**{name: getattr(landmarks, name)[kept] for name in names})


class Listed:
    """Recordings as a `Source` that can be compared by name."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.name, self.items = "corpus", rows

    def excerpt(self, item: int, start: int, samples: int) -> NDArray[np.float32]:
        """Return nothing: names are compared."""
        return np.zeros(0, np.float32)

    def score(self, item: int, start: int, samples: int) -> Score | None:
        """Return None: of recordings nothing is known."""
        return None

    def lessons(self, teacher: str) -> Lessons | None:
        """Return None: nobody is asked."""
        return None

    def digest(self) -> str:
        """Return nothing: it is not trained on."""
        return ""


def find_labelled(
    rows: Sequence[Row], fingerprint: Fingerprint, collections: Sequence[Collection]
) -> dict[int, str]:
    """Return the recordings that hold labelled music, with the evidence."""
    found: dict[int, str] = {}
    numbers = {row["path"]: number for number, row in enumerate(rows)}
    for collection in collections:
        for overlap in find_by_name(collection, [Listed(rows)]):
            said = f"{overlap.evidence} is of {overlap.collection}/{overlap.item}"
            found.setdefault(numbers[overlap.path], said)
        index = index_clips(collection)
        for number, row in enumerate(track(rows, "recordings", f"{collection.name} in the corpus")):
            if number in found:
                continue
            for match in index.match(fingerprint(row)):
                clip = f"{collection.name}/{collection.clips[match.clip].id}"
                said = f"holds {match.share:.0%} of the fingerprint of {clip}{match.change}"
                found.setdefault(number, f"{said}, from {match.second:.1f} s")
    return found


def open_collections(roots: dict[str, Path]) -> list[Collection]:
    """Read what labelled music there is.

    Raises
    ------
    DataError
        If it is missing or broken.
    """
    return [COLLECTIONS[name](root) for name, root in roots.items()]
