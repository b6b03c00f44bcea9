"""Checks of obtained recordings: how long they sound, what they are, whether they are whole."""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.atomic import atomic_write
from musicssl.audio import AUDIO_EXTENSIONS, open_source
from musicssl.audio.formats import SIGNATURE_HINTS, begins
from musicssl.errors import AudioError
from musicssl_training.corpus.lock import Locked
from musicssl_training.data.appending import in_order, whole_lines
from musicssl_training.data.decode import too_short
from musicssl_training.evaluation.leakage.fingerprint import (
    HOP,
    SAMPLE_RATE,
    Landmarks,
    find_landmarks,
)
from musicssl_training.output import make_output_folder
from musicssl_training.progress import track

log = logging.getLogger(__name__)
SEGMENT = 600 * SAMPLE_RATE // HOP * HOP  # samples at a time: whole frames, so that times add up
TOLERANCE = 0.05  # seconds by which decoders may differ in a recording's length
LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Measured:
    """A recording as it sounds, or why it cannot be used."""

    seconds: float = 0.0
    promised: float | None = None  # seconds, by the header
    error: str = ""


class Checks:
    """What decoding every recording once has shown, kept by the hash of its content."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder / "landmarks", folder / "checked.jsonl"
        make_output_folder(self._folder)
        self.known: dict[str, Measured] = {}
        whole_lines(self._file).close()
        for line in self._file.read_bytes().splitlines():
            row = json.loads(line)
            sha256 = row.pop("sha256")
            self.known[sha256] = Measured(**row)

    def measure(self, files: dict[str, Path], jobs: int = 1) -> None:
        """Decode the files, by hash, that are not known yet; a run that is stopped keeps them."""
        todo = [
            {"path": str(file), "sha256": sha256}
            for sha256, file in files.items()
            if sha256 not in self.known
        ]
        if not todo:  # no bar for nothing
            return
        with self._file.open("ab") as out:
            results = in_order(todo, lambda row: _measure(Path(row["path"])), jobs)
            for row, result in track(results, "files", total=len(todo)):
                measured, landmarks = result.result()
                self._keep(row["sha256"], landmarks)
                line = {"sha256": row["sha256"]} | vars(measured)
                out.write(json.dumps(line).encode() + b"\n")
                out.flush()
                self.known[row["sha256"]] = measured

    def landmarks(self, sha256: str) -> Landmarks:
        """Return the fingerprint of a recording that was measured."""
        with np.load(self._folder / f"{sha256}.npz", allow_pickle=False) as arrays:
            return Landmarks(
                arrays["first"].astype(np.float64),
                arrays["second"].astype(np.float64),
                arrays["gap"].astype(np.int64),
                arrays["frames"].astype(np.int64),
            )

    def _keep(self, sha256: str, landmarks: Landmarks) -> None:
        with atomic_write(self._folder / f"{sha256}.npz") as out:
            np.savez_compressed(
                out,
                first=landmarks.first.astype(np.float32),
                second=landmarks.second.astype(np.float32),
                gap=landmarks.gap.astype(np.uint8),  # below MAX_GAP
                frames=landmarks.frames.astype(np.uint32),
            )


def _measure(file: Path) -> tuple[Measured, Landmarks]:
    """Return what decoding a whole file shows, and its fingerprint."""
    parts: list[Landmarks] = []
    try:
        with open_source(file, sample_rate=SAMPLE_RATE) as source:
            for first, audio in _segments(source.blocks()):
                found = find_landmarks(audio)
                parts.append(replace(found, frames=found.frames + first // HOP))
            seconds, promised = source.decoded, source.promised
            error = ""
            short = promised is not None and too_short(seconds, promised)
            if short or (source.truncated and promised is None):
                whole = f" of {promised:.1f}" if promised else ""
                error = f"it is cut short: {seconds:.1f}{whole} s can be heard"
    except (AudioError, OSError) as failed:
        seconds, promised, error, parts = 0.0, None, _reason(file, failed), []
    return Measured(seconds, promised, error), _joined(parts)


def _joined(parts: list[Landmarks]) -> Landmarks:
    names = [field.name for field in fields(Landmarks)]
    arrays = {name: [getattr(part, name) for part in parts] for name in names}
    return Landmarks(**{n: np.concatenate([np.zeros(0), *found]) for n, found in arrays.items()})


def _reason(file: Path, error: Exception) -> str:
    with file.open("rb") as data:
        if data.read(len(LFS)) == LFS:
            return "it is a pointer of Git LFS: the content lies elsewhere"
    return f"it cannot be read: {str(error).removeprefix(f'{file}: ')}"


def looks_like_audio(file: Path) -> bool:
    """Tell whether a file is called as audio is, or begins as it does."""
    if file.suffix.lower() in AUDIO_EXTENSIONS:
        return True
    with file.open("rb") as data:
        head = data.read(16)
    signed = begins(head) or head.startswith(tuple(SIGNATURE_HINTS))
    return signed and head[8:12] != b"WEBP"  # a picture


def _segments(blocks: Iterable[NDArray[np.float32]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield audio in segments of about ten minutes, with the sample at which each begins."""
    waiting, held, first = [], 0, 0
    for block in blocks:
        waiting.append(block)
        held += len(block)
        while held >= SEGMENT:
            joined = np.concatenate(waiting)
            yield first, joined[:SEGMENT]
            waiting, held, first = [joined[SEGMENT:]], held - SEGMENT, first + SEGMENT
    if held:
        yield first, np.concatenate(waiting)


def compare(row: dict[str, Any], measured: Measured, locked: Locked | None) -> str:
    """Return why a recording cannot be used, or nothing.

    Parameters
    ----------
    row
        Of the recording; its sha256, size, and where they are known mixed and stated_seconds.
    measured
        What was heard.
    locked
        What the lock file says, if it names the recording.
    """
    if measured.error:
        return measured.error
    if locked is not None:
        if row["sha256"] != locked.sha256:
            return "its content is another than the lock file says"
        if row["size"] != locked.size and "mixed" not in row:  # a mix is encoded here
            return f"it has {row['size']:,} bytes, the lock file says {locked.size:,}"
        if abs(measured.seconds - locked.seconds) > TOLERANCE:
            return (
                f"{measured.seconds:.2f} s can be heard, the lock file says {locked.seconds:.2f} s"
            )
    stated = row.get("stated_seconds")
    if stated is not None and too_short(measured.seconds, stated):
        return f"{measured.seconds:.2f} s can be heard, the source's index says {stated:.2f} s"
    return ""
