"""Packs: recordings decoded once into one file of 16-bit samples.

A pack is a folder with ``audio.i16`` (mono, little-endian) and ``index.jsonl``, one line a
recording: ``{"path", "source", "licence", "start", "samples", ...}``; if it was rendered, there is
``scores.jsonl`` too, with what truly sounds in each. The index may say more of that: ``activity``,
see `read_activity`, and the ``style`` of what was rendered.
"""

import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import AudioError, ConfigError
from musicssl_training.data.decode import IncompleteError, too_short
from musicssl_training.data.teaching import Lessons
from musicssl_training.data.truth import read_truth
from musicssl_training.midi.score import SCORES, Score, to_row
from musicssl_training.output import make_output_folder
from musicssl_training.progress import track

log = logging.getLogger(__name__)
T = TypeVar("T")
RATE = 22_050  # Hz, of packs that do not say
Row = dict[str, Any]  # path, source, licence and whatever else is known of a recording
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
        if not items:
            raise ConfigError(f"{folder} holds no index.jsonl with recordings: not a pack.")
        check_audio(folder, items)
        return cls(folder, items, np.memmap(folder / "audio.i16", dtype="<i2", mode="r"))

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
        return hashlib.sha256((self.folder / "index.jsonl").read_bytes()).hexdigest()


def read_index(folder: Path) -> list[Row]:
    """Return the whole lines of a pack's index; a last one that was cut short is left out."""
    index = folder / "index.jsonl"
    if not index.is_file():
        return []
    lines = index.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def check_audio(folder: Path, items: list[Row]) -> int:
    """Return the samples that the items need.

    Raises
    ------
    ConfigError
        If audio.i16 holds fewer.
    """
    needed = max((item["start"] + item["samples"] for item in items), default=0)
    file = folder / "audio.i16"
    there = file.stat().st_size // 2 if file.is_file() else 0
    if there < needed:
        raise ConfigError(
            f"{file} holds {there:,} samples, its index.jsonl says {needed:,}: "
            "copied in part? Delete the pack and make it again."
        )
    return int(needed)


@dataclass(frozen=True)
class LeftOut:
    """A recording that is not in the pack."""

    path: str
    reason: str  # "unreadable" or "incomplete"
    seconds: float | None  # how long it should be; None: unknown


@dataclass(frozen=True)
class Packed:
    """Result of packing: what there is, and what was left out."""

    recordings: int  # in the pack
    seconds: float  # of these
    left_out: tuple[LeftOut, ...]

    def __str__(self) -> str:
        """Say in one line how much there is, and what is missing and why."""
        asked = self.seconds + sum(one.seconds or 0 for one in self.left_out)
        text = (
            f"{self.recordings} of {self.recordings + len(self.left_out)} recordings, "
            f"{self.seconds / 3600:.2f} of {asked / 3600:.2f} hours"
        )
        missing = []
        for reason in sorted({one.reason for one in self.left_out}):
            some = [one.seconds for one in self.left_out if one.reason == reason]
            known = sum(seconds for seconds in some if seconds is not None)
            parts = [f"{known / 3600:.2f} hours"] if known else []
            if unknown := some.count(None):
                parts.append(f"{unknown} of unknown length")
            missing.append(f"{len(some)} {reason} ({', '.join(parts)})")
        return f"{text}; left out: {', '.join(missing)}" if missing else text


def write_pack(rows: Iterable[Row], folder: Path, read: Read, jobs: int = 1) -> Packed:
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

    Returns
    -------
    Packed
        What of `rows` the pack then holds, and what it lacks.

    Raises
    ------
    ConfigError
        If the pack that is there is damaged, or holds recordings that are too short.
    """
    make_output_folder(folder)
    rows, items = list(rows), read_index(folder)
    known = {item["path"] for item in items}
    position = check_audio(folder, items)
    _check_lengths(folder, items, rows)
    todo = [row for row in rows if row["path"] not in known]
    left_out: list[LeftOut] = []
    _keep_scores(folder / SCORES, known)
    with (
        cut(folder / "audio.i16", 2 * position) as audio,
        whole_lines(folder / "index.jsonl") as index,
        closing(in_order(todo, read, jobs)) as results,
    ):
        for row, result in track(results, "files", total=len(todo)):
            try:
                samples, facts, score = result.result()
            except AudioError as error:
                log.warning("left out: %s", error)
                left_out.append(_left_out(row, error))
                continue
            audio.write((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
            audio.flush()
            if score is not None:
                line = json.dumps({"path": row["path"]} | to_row(score), separators=(",", ":"))
                with (folder / SCORES).open("ab") as scores:  # there only if one is known
                    scores.write(line.encode() + b"\n")
            place = {"start": position, "samples": len(samples)}
            index.write(json.dumps(row | facts | place).encode() + b"\n")
            index.flush()
            position += len(samples)
    asked = {row["path"] for row in rows}
    there = [item for item in read_index(folder) if item["path"] in asked]
    return Packed(len(there), sum(map(length_of, there)), tuple(left_out))


def length_of(item: Row) -> float:
    """Return the seconds of a recording in a pack."""
    return float(item["samples"] / item.get("sample_rate", RATE))


def _left_out(row: Row, error: AudioError) -> LeftOut:
    """Return why a recording is left out, and how long it should be."""
    seconds = row.get("seconds")
    if isinstance(error, IncompleteError):
        return LeftOut(row["path"], "incomplete", error.seconds if seconds is None else seconds)
    return LeftOut(row["path"], "unreadable", seconds)


def _check_lengths(folder: Path, items: list[Row], rows: list[Row]) -> None:
    """Refuse a pack, made before lengths were compared, whose recordings are too short.

    Raises
    ------
    ConfigError
        If one is shorter than its row says.
    """
    wanted = {row["path"]: row["seconds"] for row in rows if row.get("seconds") is not None}
    short = [
        item
        for item in items
        if item["path"] in wanted and too_short(length_of(item), wanted[item["path"]])
    ]
    if short:
        path = short[0]["path"]
        raise ConfigError(
            f"{folder} holds {len(short)} recordings that are shorter than the index says, such as "
            f"{path} ({length_of(short[0]):.1f} of {wanted[path]:.1f} s); "
            "delete the pack and make it again."
        )


def cut(file: Path, size: int) -> BinaryIO:
    """Open a file, new or not, at `size` bytes; what follows is dropped."""
    file.touch()
    out = file.open("r+b")
    out.truncate(size)
    out.seek(size)
    return out


def whole_lines(file: Path) -> BinaryIO:
    """Open a file of lines behind its last whole one."""
    return cut(file, file.read_bytes().rfind(b"\n") + 1 if file.exists() else 0)


def _keep_scores(file: Path, known: set[str]) -> None:
    """Drop what a killed run wrote after the scores of the recordings that are in the index."""
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    while lines and not (lines[-1].endswith(b"\n") and json.loads(lines[-1])["path"] in known):
        lines.pop()
    if lines:
        cut(file, sum(map(len, lines))).close()
    else:
        file.unlink(missing_ok=True)


def in_order(
    rows: list[Row], read: Callable[[Row], T], jobs: int
) -> Generator[tuple[Row, "Future[T]"], None, None]:
    """Yield each row with its result, in order, while others are read."""
    with ThreadPoolExecutor(jobs) as pool:
        waiting: deque[tuple[Row, Future[T]]] = deque()
        try:
            for row in rows:
                waiting.append((row, pool.submit(read, row)))
                if len(waiting) > jobs:  # no further ahead: whole recordings wait in memory
                    yield waiting.popleft()
            yield from waiting
        finally:
            pool.shutdown(cancel_futures=True)
