"""Folders of audio files of any format, with a manifest, read excerpt by excerpt."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from musicssl.atomic import atomic_write_text
from musicssl.audio import AUDIO_EXTENSIONS, open_source
from musicssl.audio.resample import resampled_length
from musicssl.errors import AudioError, ConfigError, OutputError
from musicssl.folder.paths import reason
from musicssl_training.data.index import leave_out, read_rows
from musicssl_training.data.recordings import RATE, Row
from musicssl_training.data.resampled import Stretch
from musicssl_training.data.teaching import Lessons
from musicssl_training.midi.score import Score
from musicssl_training.progress import track

log = logging.getLogger(__name__)
MANIFEST = "manifest.jsonl"  # one line says where the files are, then one a file
OFTEN = 1000  # files, after which what is known is saved
KNOWN = ("source", "licence", "group")  # columns of an index that are kept
NEEDED = ("path", "sha256", "rate", "native_samples")  # in every row of a manifest


@dataclass(frozen=True)
class Counts:
    """Counts of the files of a folder."""

    files: int
    hours: float
    broken: int
    duplicates: int


class Files:
    """A folder of audio files with a manifest, as a source of excerpts."""

    def __init__(self, root: Path, rows: list[Row], sample_rate: int) -> None:
        self.root, self.sample_rate = root, sample_rate
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
            If there is none, or it is damaged or names no file.
        """
        file = place / MANIFEST if place.is_dir() else place
        if not file.is_file():
            raise ConfigError(
                f"{place} holds neither a pack nor a {MANIFEST}. For a folder of audio files, "
                f"run `musicssl-train manifest {place}` first."
            )
        root, rows = _lines(file)
        if not rows:
            raise ConfigError(f"{file} names no audio file.")
        return cls((file.parent / root).resolve(), rows, sample_rate)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.name

    def excerpt(self, item: int, start: int, samples: int) -> NDArray[np.float32]:
        """Return a stretch of a file, mono in [-1, 1], shape (samples,).

        What libsndfile reads (FLAC, MP3, Opus, ...) is read from there on, others from the start.

        Raises
        ------
        AudioError
            If the file is gone or damaged, ends before, or holds NaN or infinity.
        """
        path = self.root / self.items[item]["path"]
        try:
            audio = _stretch(path, self.sample_rate, start, samples)
        except (OSError, soundfile.LibsndfileError):
            audio = np.empty(0, np.float32)
        if len(audio) < samples:  # libsndfile cannot read it, or stops where a header says
            audio = _decoded(path, self.sample_rate, start, samples)
        if len(audio) < samples:
            raise AudioError(f"{path} ends before what its manifest says; has it changed?")
        if not np.isfinite(audio).all():
            raise AudioError(f"{path}: NaN or infinite samples.")
        return np.clip(audio, -1, 1)

    def score(self, item: int, start: int, samples: int) -> Score | None:
        """Return None: of recordings nothing is known."""
        return None

    def lessons(self, teacher: str) -> Lessons | None:
        """Return None: teachers are asked about packs only."""
        return None

    def digest(self) -> str:
        """Return a SHA-256 of the rows, which hold that of every file, but not where it lies."""
        rows = [{k: row[k] for k in row if k not in ("mtime", "samples")} for row in self.items]
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _stretch(path: Path, sample_rate: int, start: int, samples: int) -> NDArray[np.float32]:
    """Return samples at another rate, the same as those of the whole file."""
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        first, length, skip = Stretch.around(start, samples, rate, sample_rate)
        file.seek(first)
        mixer = np.full(file.channels, 1 / file.channels, np.float32)
        mono: NDArray[np.float32] = file.read(length, dtype="float32", always_2d=True) @ mixer
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    return mono[skip : skip + samples]


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
    root: Path,
    out: Path | None = None,
    index: Path | None = None,
    jobs: int = 1,
    without: Sequence[str] = (),
) -> Counts:
    """Write down what audio files a folder holds, going on with what was written before.

    A file of the same size and time as then, even in a run that was stopped, is not read again.
    Files that cannot be read, and files with the same bytes as another, are logged and left out.

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
    without
        See `leave_out`; any column of `index` counts.

    Raises
    ------
    ConfigError
        If `root` is no folder, holds no audio, or `index` cannot be read.
    OutputError
        If `out` cannot be written.
    """
    if not root.is_dir():
        raise ConfigError(f"{root} is not a folder.")
    out = out or root / MANIFEST
    part = out.with_name(f"{out.name}.part")  # what is known if a run is stopped
    listed = leave_out(_listed(root, index), without)
    known = {row["path"]: row for file in (out, part) if file.is_file() for row in _lines(file)[1]}
    rows: dict[str, Row] = {}
    broken = duplicates = 0
    _save(part, out, root, known.values())
    pool = ThreadPoolExecutor(jobs)
    try:
        found = pool.map(lambda about: _read(root, about["path"], known.get(about["path"])), listed)
        bar = track(found, "files", total=len(listed))
        for number, (about, row) in enumerate(zip(listed, bar, strict=True), 1):
            if isinstance(row, AudioError):
                log.warning("left out: %s", row)
                broken += 1
                continue
            first = rows.setdefault(row["sha256"], row | {key: about[key] for key in KNOWN})
            if first["path"] != row["path"]:
                log.warning("left out: %s is %s once more", row["path"], first["path"])
                duplicates += 1
            known[row["path"]] = row
            if number % OFTEN == 0:
                _save(part, out, root, known.values())
    finally:
        pool.shutdown(cancel_futures=True)
        _save(part, out, root, known.values())
    if rows:
        _save(out, out, root, rows.values())
    part.unlink()
    if not rows:
        raise ConfigError(f"{root} holds no audio that can be read; {broken} files were tried.")
    seconds = sum(row["native_samples"] / row["rate"] for row in rows.values())
    return Counts(len(rows), seconds / 3600, broken, duplicates)


def _listed(root: Path, index: Path | None) -> list[Row]:
    """Return a row for each file that is there, in order: what its place or the index says."""
    if index is None:
        return [_facts(path) for path in _files(root)]
    rows = read_rows(index, ("path",))
    about = {row["path"]: {k: v for k, v in row.items() if v or k not in KNOWN} for row in rows}
    there = [path for path in _files(root) if path in about]
    if absent := sorted(about.keys() - set(there)):
        log.warning("%d files of %s are not there, such as %s", len(absent), index, absent[0])
    return [_facts(path) | about[path] for path in there]


def _files(root: Path) -> Iterator[str]:
    """Yield the audio files of a folder, relative to it, in order."""
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.is_file() and not hidden and path.suffix.lower() in AUDIO_EXTENSIONS:
            yield inside.as_posix()


def _save(file: Path, out: Path, root: Path, rows: Iterable[Row]) -> None:
    """Write the manifest `out`, or what is known of it yet, into a file: whole or not at all."""
    here = "." if out.parent.resolve() == root.resolve() else str(root.resolve())
    lines = [{"root": here}, *rows]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, text, part=out.with_name(f"{out.name}.new"))
    except OSError as error:
        raise OutputError(
            f"cannot write to {out}: {reason(error)}; choose another --out."
        ) from error


def _read(root: Path, path: str, before: Row | None) -> Row | AudioError:
    """Return what is known of a file, or why it cannot be used."""
    file = root / path
    try:
        state = file.stat()
        stamp = {"bytes": state.st_size, "mtime": state.st_mtime}
        if before is not None and stamp.items() <= before.items():
            return before
        with open_source(file, sample_rate=RATE) as source:
            rate, channels, samples = source.native_rate, source.channels, source.native_samples
            if not source.counted:  # of a compressed file, the header may be wrong
                for _ in source.blocks():
                    pass
                samples = round(source.decoded * rate)
        with file.open("rb") as data:
            sha256 = hashlib.file_digest(data, "sha256").hexdigest()
    except (AudioError, OSError) as error:
        return AudioError(str(error))
    known = {"path": path, "sha256": sha256, "rate": rate, "channels": channels}
    return known | {"native_samples": samples} | stamp


def _facts(path: str) -> dict[str, str]:
    """Return what the place of a file says of it."""
    group = path.rpartition("/")[0]
    source = group.split("/")[0] or "folder"
    return {"path": path, "source": source, "licence": "unknown", "group": group}


def _lines(file: Path) -> tuple[str, list[Row]]:
    """Return where a manifest's files are, and its rows."""
    try:
        head, *rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        if missing := [key for row in rows for key in NEEDED if key not in row]:
            raise ValueError(f"a line has no {missing[0]!r}")
        return head["root"], rows
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{file} is no manifest ({error}); delete it.") from error
