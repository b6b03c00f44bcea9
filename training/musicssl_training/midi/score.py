"""Ground truth of an excerpt: notes, beats, tempo, key, style, and which instruments play."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError
from musicssl_training.midi.activity import keep_activity, shift_activity

log = logging.getLogger(__name__)
SCORES = "scores.jsonl"  # beside a pack's index.jsonl, one line a recording
FORMAT = 2  # of its lines; in those without a format, 1, bars are counted across upbeats
AROUND = 8.0  # seconds before and after an excerpt in which beats are kept


@dataclass(frozen=True)
class Score:
    """The truth about one excerpt; times in seconds from its start, some of them before or after.

    Attributes
    ----------
    notes
        Shape (notes, 5): onset, end of the sound, MIDI pitch, General MIDI program from 0 (or
        `DRUMS`), velocity 1 to 127.
    beats
        Shape (beats, 2): time, place in the bar (1 is the downbeat; 0 where bars are unknown, as
        wherever notes do not confirm them).
    tempo
        Beats a minute; NaN where unknown.
    key
        0 to 11 for C to B major, 12 to 23 for C to B minor; -1 where unknown.
    style
        One of `charts.STYLES`; nothing where unknown.
    activity
        What `read_activity` returns, of a recording whose stems are known: instrument families
        play there beside those of the notes, and pitches are unknown. None: nothing sounds but
        the notes.
    """

    notes: NDArray[np.float32]
    beats: NDArray[np.float32]
    tempo: float = float("nan")
    key: int = -1
    style: str = ""
    activity: NDArray[np.float32] | None = None

    def cut(self, start: float, seconds: float) -> "Score":
        """Return the truth about a stretch; times count from its start.

        Notes that sound in it keep their whole length, so that an onset before it is no onset in
        it; beats are kept some seconds around. Activity ends where the stretch does.
        """
        notes, beats = self.notes, self.beats
        notes = notes[(notes[:, 0] < start + seconds) & (notes[:, 1] > start)].copy()
        notes[:, :2] -= start
        near = (beats[:, 0] > start - AROUND) & (beats[:, 0] < start + seconds + AROUND)
        beats = beats[near].copy()
        beats[:, 0] -= start
        activity = self.activity
        if activity is not None:
            activity = shift_activity(activity, start, seconds)
        return replace(self, notes=notes, beats=beats, activity=activity)

    def within(self, first: float, last: float) -> "Score":
        """Return the truth where nothing is heard before `first` and after `last` seconds.

        A note that sounded before begins at `first`. Of so short a stretch neither beats nor
        tempo nor key nor style are asked, unless all that sounds lies in it.
        """
        activity = self.activity
        ends = [self.notes[:, 1], () if activity is None else activity[:, 1]]
        if first <= 0 and np.concatenate(ends).max(initial=0) <= last:
            return self
        kept = (self.notes[:, 0] < last) & (self.notes[:, 1] > first)
        notes = self.notes[kept].copy()
        notes[:, 0] = notes[:, 0].clip(min=first)
        notes[:, 1] = notes[:, 1].clip(max=last)
        if activity is not None:
            activity = keep_activity(activity, first, last)
        return Score(notes, np.zeros((0, 2), np.float32), activity=activity)


NOBODY = Score(np.zeros((0, 5), np.float32), np.zeros((0, 2), np.float32))  # sounds


def merge(a: Score, b: Score) -> Score:
    """Return the truth about two excerpts that sound together.

    All notes and all activity; beats and tempo are unknown, key and style too where they differ.
    """
    heard = [score.activity for score in (a, b) if score.activity is not None]
    return Score(
        np.concatenate([a.notes, b.notes]),
        np.zeros((0, 2), np.float32),
        key=a.key if a.key == b.key else -1,
        style=a.style if a.style == b.style else "",
        activity=np.concatenate(heard) if heard else None,
    )


def to_row(score: Score) -> dict[str, Any]:
    """Return a score as JSON-able values, times to the millisecond."""
    return {
        "format": FORMAT,
        "notes": [
            [round(on, 3), round(off, 3), *map(int, rest)]
            for on, off, *rest in score.notes.tolist()
        ],
        "beats": [[round(time, 3), int(place)] for time, place in score.beats.tolist()],
        "tempo": None if np.isnan(score.tempo) else round(score.tempo, 3),
        "key": score.key,
    }


def from_row(row: Mapping[str, Any]) -> Score:
    """Return the score of `to_row`'s values; bars are unknown in those of format 1."""
    tempo = row["tempo"]
    beats = np.array(row["beats"], np.float32).reshape(-1, 2)
    if row.get("format", 1) < 2:
        beats[:, 1] = 0
    return Score(
        np.array(row["notes"], np.float32).reshape(-1, 5),
        beats,
        float("nan") if tempo is None else float(tempo),
        int(row["key"]),
    )


def read_scores(root: Path, rows: Iterable[Mapping[str, Any]]) -> list[Score]:
    """Return the scores of a pack's recordings, in the order of its index.

    Raises
    ------
    ConfigError
        If the pack has none, or not of every recording, or in a later format, or is damaged.
    """
    file = root / SCORES
    if not file.is_file():
        raise ConfigError(
            f"{root} holds no {SCORES}: what sounds in it is not known. "
            "Was it made of recordings, or by an older version? `musicssl-train render` writes it."
        )
    found, formats = {}, set()
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.endswith(b"\n"):
                try:
                    row = json.loads(line)
                    formats.add(int(row.get("format", 1)))
                    found[row["path"]] = from_row(row)
                except (ValueError, TypeError, LookupError, AttributeError) as error:
                    raise ConfigError(
                        f"{file}, line {number}, holds what no score does ({error}); delete the "
                        "pack and render it again."
                    ) from error
    if max(formats, default=FORMAT) > FORMAT:
        raise ConfigError(f"{file} has format {max(formats)}, this version reads up to {FORMAT}.")
    if min(formats, default=FORMAT) < FORMAT:
        log.warning(
            "%s was written by an older version, which counted bars across upbeats: its downbeats "
            "are taken to be unknown. `musicssl-train render` into a new folder tells them.",
            file,
        )
    scores = []
    for row in rows:
        if row["path"] not in found:
            raise ConfigError(f"{file} lacks {row['path']}; delete the pack and render it again.")
        scores.append(found[row["path"]])
    return scores
