"""Packs: recordings decoded once into one file of 16-bit samples.

A pack is a folder with ``audio.i16`` (mono, little-endian) and ``index.jsonl``, one line a
recording: ``{"path", "source", "licence", "start", "samples", "audio_hash", ...}``; if it was
rendered, there is ``scores.jsonl`` too, with what truly sounds in each. The index may say more of
that: ``activity``, see `read_activity`, and the ``style`` of what was rendered.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import AudioError, ConfigError, shown
from musicssl.folder.paths import writing
from musicssl_training.data.appending import cut, in_order, whole_lines
from musicssl_training.data.packed import LeftOut, Packed, left_out
from musicssl_training.data.recordings import (
    AUDIO,
    AUDIO_HASH,
    INDEX,
    RATE,
    Row,
    check_audio,
    length_of,
    read_index,
    short_hash,
)
from musicssl_training.data.resuming import (
    ADVICE,
    FILE,
    NO_SETTINGS,
    Locate,
    check_asked,
    check_lengths,
    check_own,
    is_cut_line,
    of_file,
    without_repeats,
)
from musicssl_training.data.teaching import Lessons
from musicssl_training.data.truth import read_truth
from musicssl_training.locks import claimed
from musicssl_training.midi.score import SCORES, Score, to_row
from musicssl_training.output import make_output_folder
from musicssl_training.progress import track

log = logging.getLogger(__name__)
LOCK = "pack.lock"
Read = Callable[[Row], tuple[NDArray[np.float32], Row, Score | None]]  # audio, facts, the truth


class Pack:
    """The recordings of one packed folder, their samples, and their scores where there are any."""

    def __init__(self, folder: Path, items: list[Row], audio: NDArray[np.int16]) -> None:
        self.folder, self.items, self.audio = folder, items, audio
        self._scores = read_truth(folder, items)

    @classmethod
    def open(cls, folder: Path) -> "Pack":
        """Open a packed folder.

        Raises
        ------
        ConfigError
            If it is not one, holds no audio, or less than its index says.
        """
        items = read_index(folder)
        needed = check_audio(folder, items)
        if not needed:
            raise ConfigError(f"{folder} holds no index.jsonl with recordings: not a pack.")
        # a run that was killed may have left a part of one more
        return cls(folder, items, np.memmap(folder / AUDIO, "<i2", "r", shape=(needed,)))

    def __reduce__(self) -> tuple[Callable[[Path], "Pack"], tuple[Path]]:
        """Be opened again in another process, instead of sending all samples there."""
        return Pack.open, (self.folder,)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def excerpt(self, item: int, start: int, samples: int) -> NDArray[np.float32]:
        """Return a stretch of a recording in [-1, 1], shape (samples,)."""
        first = self.items[item]["start"] + start
        return self.audio[first : first + samples] * np.float32(1 / 32768)

    def score(self, item: int, start: int, samples: int) -> Score | None:
        """Return what truly sounds in that stretch, where it is known."""
        rate = self.items[item].get("sample_rate", RATE)
        return self.score_between(item, start / rate, samples / rate)

    def score_between(self, item: int, start: float, seconds: float) -> Score | None:
        """Return what truly sounds in a stretch that begins at `start` seconds."""
        score = self._scores[item]
        return None if score is None else score.cut(start, seconds)

    def lessons(self, teacher: str) -> Lessons | None:
        """Return what a teacher said of the recordings, if it was asked."""
        return Lessons.open(self.folder, teacher, self.items)

    def digest(self) -> str:
        """Return the SHA-256 of the index: what was packed, and where it lies."""
        return hashlib.sha256((self.folder / INDEX).read_bytes()).hexdigest()


def write_pack(
    rows: Iterable[Row],
    folder: Path,
    read: Read,
    jobs: int = 1,
    *,
    settings: Mapping[str, Any] = NO_SETTINGS,
    locate: Locate | None = None,
) -> Packed:
    """Read every row into a pack, going on with what is there.

    A recording that fails is logged and left out. A run that was killed leaves whole recordings.
    The pack is the same whatever `jobs` is.

    Parameters
    ----------
    rows
        What to read; rows whose ``path`` is in the pack are skipped. ``seconds``, where there is
        such a value, is how long the recording should be.
    folder
        The pack's.
    read
        Takes a row, gives mono audio in [-1, 1], further facts for the index, and what sounds
        where that is known. An `AudioError` is that recording's; any other error ends the work.
    jobs
        Rows to read at a time, in threads.
    settings
        How the pack is made, its ``sample_rate`` for example: facts of every recording.
    locate
        Says where a row's file lies, of which size and hash are then kept.

    Returns
    -------
    Packed
        What of `rows` the pack then holds, and what it lacks.

    Raises
    ------
    ConfigError
        If the pack that is there is damaged, or holds anything else than what is asked for; if the
        folder's files may be somebody else's; or if another process is writing there.
    OutputError
        If it cannot be written.
    """
    make_output_folder(folder)
    rows = without_repeats(rows)
    with claimed(folder / LOCK):
        items = read_index(folder)
        position = check_audio(folder, items)
        check_own(folder, items)
        check_lengths(folder, items, rows)
        check_asked(folder, items, rows, settings, locate)
        known = {item["path"] for item in items}
        _keep_scores(folder / SCORES, known)
        todo = [row for row in rows if row["path"] not in known]
        missing: list[LeftOut] = []

        def whole(row: Row) -> tuple[NDArray[np.float32], Row, Score | None]:
            samples, facts, score = read(row)
            found = {} if locate is None else {FILE: of_file(locate(row))}
            return samples, {**facts, **settings, **found}, score

        with _Writer(folder, position) as out, closing(in_order(todo, whole, jobs)) as results:
            for row, result in track(results, "files", total=len(todo)):
                try:
                    samples, facts, score = result.result()
                except AudioError as error:
                    log.warning("left out: %s", error)
                    missing.append(left_out(row, error))
                    continue
                out.add(row | facts, samples, score)
        there = read_index(folder)
    return Packed(len(there), sum(map(length_of, there)), tuple(missing))


class _Writer:
    """Open files of a pack, behind its whole recordings, and what they are given."""

    def __init__(self, folder: Path, position: int) -> None:
        self.folder, self.position = folder, position
        with writing(folder):
            self.audio = cut(folder / AUDIO, 2 * position)
            self.index = whole_lines(folder / INDEX)

    def add(self, row: Row, samples: NDArray[np.float32], score: Score | None) -> None:
        """Write a recording, and then that it is there.

        Raises
        ------
        OutputError
            If that cannot be: a full disk, for example.
        """
        data = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        with writing(self.folder / AUDIO):
            self.audio.write(data)
            self.audio.flush()
        if score is not None:
            line = json.dumps({"path": row["path"]} | to_row(score), separators=(",", ":"))
            file = self.folder / SCORES  # there only if one is known
            with writing(file), file.open("ab") as scores:
                scores.write(line.encode() + b"\n")
        place = {"start": self.position, "samples": len(samples), AUDIO_HASH: short_hash(data)}
        with writing(self.folder / INDEX):
            self.index.write(json.dumps({"path": row["path"]} | row | place).encode() + b"\n")
            self.index.flush()
        self.position += len(samples)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with writing(self.folder) if kind is None else suppress(OSError):
            self.audio.close()
            self.index.close()


def _keep_scores(file: Path, known: set[str]) -> None:
    """Drop what a killed run wrote after the scores of the recordings that are in the index.

    Raises
    ------
    ConfigError
        If that may be something else.
    """
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    while lines:
        path = _path_of_score(lines[-1])
        if path in known and lines[-1].endswith(b"\n"):
            return cut(file, sum(map(len, lines))).close()
        if path is None and not is_cut_line(lines[-1]):
            raise ConfigError(
                f"{file} ends with {shown(lines[-1])}, which is no line of a pack's, and is left "
                f"as it is. {ADVICE}"
            )
        lines.pop()
    return file.unlink(missing_ok=True)


def _path_of_score(line: bytes) -> str | None:
    """Return whose score a line of scores is; None if it is none, or cut short."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return str(row["path"]) if isinstance(row, dict) and {"path", "notes"} <= row.keys() else None
