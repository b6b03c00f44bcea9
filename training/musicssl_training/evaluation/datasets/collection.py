"""Labeled clips: audio, a table of label and group columns, and where to get the data."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.audio import open_source
from musicssl.errors import AudioError, MusicSSLError, nearest
from musicssl_training.evaluation.errors import DataError
from musicssl_training.midi.score import Score

Audio = NDArray[np.float32]  # (samples,), mono, in [-1, 1]
Column = NDArray[Any]  # (clips,), text or numbers


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
    """

    id: str
    path: Path
    raw: tuple[int, int, int] | None = None

    @property
    def size(self) -> int:
        """Size of the audio in bytes; distinguishes versions of the data."""
        return 2 * self.raw[1] if self.raw else self.path.stat().st_size

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
                raise DataError(f"{self.name}: item {clip.id!r} is listed twice.")
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
            If a file is missing.
        """
        if not self._hash:
            digest = hashlib.sha256()
            for clip in self.clips:
                try:
                    digest.update(f"{clip.id}\0{clip.size}\n".encode())
                except OSError as error:
                    raise DataError(
                        f"{self.name}: item {clip.id!r}: {clip.path} cannot be read "
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
            raise DataError(
                f"{self.name}: item {clip.id!r} cannot be used: {error} {self.advice}"
            ) from error

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
            f"{self.name} has no column {name!r}.{nearest(name, self.columns)} {self.advice}"
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
