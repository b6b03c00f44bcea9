"""Folders of any audio, read excerpt by excerpt; nothing is decoded beforehand.

What a folder holds is written down once, in a manifest: ``manifest.jsonl``, one line a file.
"""

import csv
import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

from musicssl.audio import AUDIO_EXTENSIONS, open_source
from musicssl.audio.resample import resampled_length
from musicssl.errors import AudioError, ConfigError
from musicssl_training.corpus.packed import RATE
from musicssl_training.corpus.score import Score

log = logging.getLogger(__name__)
MANIFEST = "manifest.jsonl"
MARGIN = 1024  # samples on both sides of an excerpt, for the resampler
KNOWN = ("source", "licence", "group")  # columns of an index that are kept
Row = dict[str, Any]


@dataclass(frozen=True)
class Counts:
    """What became of the files of a folder."""

    files: int
    hours: float
    broken: int
    duplicates: int


class Files:
    """A folder of audio files with a manifest, as a source of excerpts."""

    def __init__(self, root: Path, rows: list[Row], sample_rate: int, sha256: str) -> None:
        self.root, self.sample_rate, self._sha256 = root, sample_rate, sha256
        self.items = [
            row | {"samples": resampled_length(row["native_samples"], row["rate"], sample_rate)}
            for row in rows
        ]

    @classmethod
    def open(cls, place: Path, sample_rate: int) -> "Files":
        """Open a folder that has a manifest, or a manifest that lies elsewhere.

        Raises
        ------
        ConfigError
            If there is none, or it names no file.
        """
        file = place / MANIFEST if place.is_dir() else place
        if not file.is_file():
            raise ConfigError(
                f"{place} holds neither a pack nor a {MANIFEST}. For a folder of audio files, "
                f"run `musicssl-train manifest {place}` first."
            )
        head, *rows = _lines(file)
        if not rows:
            raise ConfigError(f"{file} names no audio file.")
        root = (file.parent / head["root"]).resolve()
        return cls(root, rows, sample_rate, hashlib.sha256(file.read_bytes()).hexdigest())

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.name

    def excerpt(self, item: int, start: int, samples: int) -> NDArray[np.float32]:
        """Return a stretch of a file, mono in [-1, 1], shape (samples,).

        Files that libsndfile reads (WAV, FLAC, Ogg, Opus, MP3, ...) are read from there on, others
        from their beginning.

        Raises
        ------
        AudioError
            If the file is gone or damaged, or ends before.
        """
        path = self.root / self.items[item]["path"]
        try:
            audio = _stretch(path, self.sample_rate, start, samples)
        except (OSError, soundfile.LibsndfileError):
            audio = _decoded(path, self.sample_rate, start, samples)
        if len(audio) < samples:
            raise AudioError(f"{path} ends before what its manifest says; has it changed?")
        return np.clip(audio, -1, 1)

    def score(self, item: int, start: int, samples: int) -> Score | None:
        """Return None: of recordings nothing is known."""
        return None

    def digest(self) -> str:
        """Return the SHA-256 of the manifest, which holds that of every file."""
        return self._sha256


def _stretch(path: Path, sample_rate: int, start: int, samples: int) -> NDArray[np.float32]:
    """Return samples at another rate, the same as those of the whole file."""
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        step = sample_rate // math.gcd(rate, sample_rate)  # that many come from whole ones
        first = max(0, (start - MARGIN) // step) * step
        file.seek(first * rate // sample_rate)
        wanted = -(-(start - first + samples + MARGIN) * rate // sample_rate)
        mono = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    out: NDArray[np.float32] = mono[start - first : start - first + samples]
    return out


def _decoded(path: Path, sample_rate: int, start: int, samples: int) -> NDArray[np.float32]:
    """Return samples of a file that can only be read from its beginning."""
    parts, position = [], 0
    with open_source(path, sample_rate=sample_rate) as source:
        for block in source.blocks():
            parts.append(block[max(0, start - position) : max(0, start + samples - position)])
            position += len(block)
            if position >= start + samples:
                break
    return np.concatenate(parts)


def write_manifest(
    root: Path, out: Path | None = None, index: Path | None = None, jobs: int = 1
) -> Counts:
    """Write down what audio files a folder holds, going on with what was written before.

    A file of the same size and time as then is not read again. Files that cannot be read, and
    files with the same bytes as another, are logged and left out.

    Parameters
    ----------
    root
        Folder; hidden files and folders in it are left out.
    out
        The manifest's file; by default ``root/manifest.jsonl``.
    index
        CSV with a column ``path``, relative to `root`, and any of source, licence and group. Files
        that it does not name are left out. Without it, the source is the top-level folder, the
        licence "unknown", and the group the file's folder.
    jobs
        Files to read at a time.

    Raises
    ------
    ConfigError
        If `root` is no folder, holds no audio, or `index` cannot be read.
    """
    if not root.is_dir():
        raise ConfigError(f"{root} is not a folder.")
    out = out or root / MANIFEST
    about = _index(index) if index else None
    before = {row["path"]: row for row in _lines(out)[1:]} if out.is_file() else {}
    paths = [path for path in _files(root) if about is None or path in about]
    rows: dict[str, Row] = {}
    broken = duplicates = 0
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(lambda path: _read(root, path, before.get(path)), paths)
        for path, row in zip(paths, tqdm(found, total=len(paths), unit="file"), strict=True):
            if isinstance(row, AudioError):
                log.warning("left out: %s", row)
                broken += 1
            elif row["sha256"] in rows:
                log.warning("left out: %s is %s once more", path, rows[row["sha256"]]["path"])
                duplicates += 1
            else:
                rows[row["sha256"]] = row | (about[path] if about else _facts(path))
    if not rows:
        raise ConfigError(f"{root} holds no audio that can be read; {broken} files were tried.")
    here = "." if out.parent.resolve() == root.resolve() else str(root.resolve())
    part = out.with_suffix(".part")
    lines = [{"root": here}, *rows.values()]
    part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    part.replace(out)
    seconds = sum(row["native_samples"] / row["rate"] for row in rows.values())
    return Counts(len(rows), seconds / 3600, broken, duplicates)


def _files(root: Path) -> Iterator[str]:
    """Yield the audio files of a folder, relative to it, in order."""
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.is_file() and not hidden and path.suffix.lower() in AUDIO_EXTENSIONS:
            yield inside.as_posix()


def _read(root: Path, path: str, before: Row | None) -> Row | AudioError:
    """Return what is known of a file, or why it cannot be used."""
    file = root / path
    state = file.stat()
    stamp = {"bytes": state.st_size, "mtime": state.st_mtime}
    if before is not None and stamp.items() <= before.items():
        return before
    try:
        with open_source(file, sample_rate=RATE) as source:
            rate, channels, samples = source.native_rate, source.channels, source.native_samples
            if not samples:  # the header does not say
                rate, samples = RATE, sum(len(block) for block in source.blocks())
    except AudioError as error:
        return error
    with file.open("rb") as data:
        sha256 = hashlib.file_digest(data, "sha256").hexdigest()
    known = {"path": path, "sha256": sha256, "rate": rate, "channels": channels}
    return known | {"native_samples": samples} | stamp


def _facts(path: str) -> dict[str, str]:
    """Return what the place of a file says of it."""
    *folders, _ = path.split("/")
    return {
        "source": folders[0] if folders else "folder",
        "licence": "unknown",
        "group": "/".join(folders),
    }


def _index(file: Path) -> dict[str, dict[str, str]]:
    """Return the rows of an index by their path."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows: list[Mapping[str, str]] = list(csv.DictReader(lines, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{file} cannot be read: {error}.") from error
    if not rows or "path" not in rows[0]:
        raise ConfigError(f"{file} has no column 'path' or no rows.")
    return {
        row["path"]: _facts(row["path"]) | {k: row[k] for k in KNOWN if row.get(k)} for row in rows
    }


def _lines(file: Path) -> list[Row]:
    """Return a manifest's lines, the first of which says where the files are."""
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} is no manifest: {error}; delete it and make it again."
        ) from error
    if not rows or "root" not in rows[0]:
        raise ConfigError(f"{file} is no manifest; delete it and make it again.")
    return rows
