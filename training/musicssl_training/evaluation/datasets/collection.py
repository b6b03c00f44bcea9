"""Labeled clips: audio, a table of label and group columns, and where to get the data."""

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.audio import open_source
from musicssl.errors import AudioError, MusicSSLError, nearest, shown
from musicssl.tables import number
from musicssl_training.evaluation.errors import DataError
from musicssl_training.midi.score import Score
from musicssl_training.progress import track

Audio = NDArray[np.float32]  # (samples,), mono, in [-1, 1]
Column = NDArray[Any]  # (clips,), text or numbers
RATE = 22_050  # Hz, of no consequence where files are opened and not heard
MOST_NAMED = 3  # clips in a message


@dataclass(frozen=True)
class Clip:
    """One recording: an audio file, or a segment of a file of 16-bit samples.

    Attributes
    ----------
    id
        Unique within its collection, and the key of precomputed embeddings: the path relative to
        the collection's folder, with forward slashes.
    raw
        For a segment of headerless samples: first sample, number of samples, sample rate in Hz.
    listed
        The line of a table that names it, for messages.
    """

    id: str
    path: Path
    raw: tuple[int, int, int] | None = None
    listed: str = field(default="", compare=False)

    @property
    def size(self) -> int:
        """Size of the audio in bytes; distinguishes versions of the data."""
        if self.raw:
            return 2 * self.raw[1]
        found = self.path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return found.st_size

    def __str__(self) -> str:
        """Name it in a message."""
        return f"{self.listed}{self.listed and ': '}item {self.id!r}"

    def read(self, sample_rate: int) -> Audio:
        """Return the audio at `sample_rate` in Hz.

        Raises
        ------
        AudioError
            If it cannot be decoded or holds no samples.
        """
        if self.raw is None:
            source = open_source(self.path, sample_rate=sample_rate)
        else:
            start, samples, rate = self.raw
            whole = np.memmap(self.path, dtype="<i2", mode="r")
            source = open_source(
                np.array(whole[start : start + samples]), rate, sample_rate=sample_rate
            )
        with source:
            blocks = list(source.blocks())
        if not blocks:
            raise AudioError(f"{self.path} holds no samples.")
        return np.concatenate(blocks)


@dataclass(frozen=True)
class Collection:
    """Clips with their labels and groups.

    Attributes
    ----------
    columns
        Labels and groups, one value per clip. ``part``, if present, holds the published split:
        "train", "valid", "test", or "" for clips that it excludes.
    musical_scores
        Notes and beats, one per clip; empty if unknown.
    advice
        Where to get the data.
    """

    name: str
    clips: tuple[Clip, ...]
    columns: dict[str, Column]
    musical_scores: tuple[Score, ...] = ()
    advice: str = ""
    _hash: list[str] = field(default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for clip in self.clips:
            if clip.id in seen:
                raise DataError(f"{self.name}: {clip} is listed twice.")
            seen.add(clip.id)
        for name, values in self.columns.items():
            if len(values) != len(self.clips):
                raise DataError(
                    f"{self.name}: column {name!r} has {len(values)} values for "
                    f"{len(self.clips)} items."
                )

    @property
    def hash(self) -> str:
        """Hash of the names and sizes of all clips, 12 digits; labels are not included.

        Raises
        ------
        DataError
            If a file is missing, or a folder.
        """
        if not self._hash:
            digest = hashlib.sha256()
            for clip in self.clips:
                try:
                    digest.update(f"{clip.id}\0{clip.size}\n".encode())
                except OSError as error:
                    raise DataError(
                        f"{self.name}: {clip}: {clip.path} cannot be read "
                        f"({error.strerror}). {self.advice}"
                    ) from error
            self._hash.append(digest.hexdigest()[:12])
        return self._hash[0]

    def read(self, clip: Clip, sample_rate: int) -> Audio:
        """Return a clip's audio at `sample_rate` in Hz.

        Raises
        ------
        DataError
            If it cannot be read; the message names the clip.
        """
        try:
            return clip.read(sample_rate)
        except (MusicSSLError, OSError) as error:
            raise DataError(f"{self.name}: {clip} cannot be used: {error} {self.advice}") from error

    def check_audio(self) -> None:
        """Make sure that all clips open as sound; none is heard to its end.

        Raises
        ------
        DataError
            If some do not; the message names the first few.
        """
        opened = track(self.clips, "clips", f"{self.name} opened")
        told = [
            f"{clip} ({reason})"
            for clip in opened
            if not clip.raw
            if (reason := fault_of(clip.path))
        ]
        if not told:
            return
        raise DataError(
            f"{self.name}: {len(told):,} of {len(self.clips):,} items cannot be used: "
            f"{first_few(told)}. Moved, renamed, or copied in part? "
            f"{self.advice}"
        )

    def column(self, name: str) -> Column:
        """Return a column.

        Raises
        ------
        DataError
            If it does not exist.
        """
        if name not in self.columns:
            raise self._no_column(name)
        return self.columns[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column of finite numbers.

        Raises
        ------
        DataError
            If it does not exist, or a value is none; the message names the item.
        """
        values = self.column(name)
        try:
            found = np.asarray(values, np.float64)
        except ValueError:
            found = np.array([number(str(value), comma=True) for value in values])
        wrong = np.flatnonzero(~np.isfinite(found))
        if len(wrong):
            value = shown(values.tolist()[wrong[0]])
            more = f", and so are {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
            raise DataError(
                f"{self.name}: {self.clips[wrong[0]]}: {name} is {value}, no finite number{more}. "
                "Decimals have a point."
            )
        return found

    def match_columns(self, *patterns: str) -> dict[str, Column]:
        """Return the columns that match names or patterns such as ``tag:*``.

        Raises
        ------
        DataError
            If a pattern matches no column.
        """
        found: dict[str, Column] = {}
        for pattern in patterns:
            matching = {k: v for k, v in self.columns.items() if fnmatchcase(k, pattern)}
            if not matching:
                raise self._no_column(pattern)
            found |= matching
        return found

    def _no_column(self, name: str) -> DataError:
        return DataError(
            f"{self.name}: there is no column {name!r}.{nearest(name, self.columns)} {self.advice}"
        )

    def groups(self, names: Sequence[str]) -> NDArray[np.str_]:
        """Return one group name per clip; a group must not be on both sides of a split."""
        if not names:
            return np.array([clip.id for clip in self.clips])
        columns = [self.column(name) for name in names]
        return np.array(["/".join(str(part) for part in row) for row in zip(*columns, strict=True)])

    def subset(self, index: NDArray[np.int64]) -> "Collection":
        """Return the collection reduced to some of its clips.

        Raises
        ------
        DataError
            If none is left.
        """
        if len(index) == 0:
            raise DataError(f"{self.name}: no item is left.")
        return Collection(
            self.name,
            tuple(self.clips[i] for i in index),
            {name: values[index] for name, values in self.columns.items()},
            tuple(self.musical_scores[i] for i in index) if self.musical_scores else (),
            self.advice,
        )


def first_few(told: Sequence[str]) -> str:
    """Return the first of several clips with their faults, and how many more there are."""
    more = f"; and {len(told) - MOST_NAMED:,} more" if len(told) > MOST_NAMED else ""
    return "; ".join(told[:MOST_NAMED]) + more


def fault_of(path: Path) -> str:
    """Return why a file does not open as sound; nothing if it does."""
    try:
        if not path.is_file():
            return "a folder, not a file" if path.is_dir() else "no such file"
        open_source(path, sample_rate=RATE).close()
    except (MusicSSLError, OSError) as error:
        return str(error).removeprefix(f"{path}: ").removesuffix(".")
    return ""
