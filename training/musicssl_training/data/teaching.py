"""Stored values of a teacher for the recordings of a pack: values, and where each lies.

``teacher-NAME.f16`` holds rows of 16-bit floats, ``teacher-NAME.jsonl`` the facts of the teacher in
its first line and ``{"path", "samples", "first", "steps", "audio_hash"}`` of a recording in each of
the others.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError
from musicssl_training.data.facts import Facts
from musicssl_training.data.places import (
    AGAIN,
    Place,
    check_places,
    files,
    read_places,
)

ENOUGH = 50_000  # rows that moments are taken of, at most
EDGE = 1e-4  # seconds by which a patch may stick out: the rounding of times
SMALLEST = float(np.finfo(np.float16).smallest_normal)  # magnitude that keeps all its digits


@dataclass(frozen=True)
class Taught:
    """Values of a teacher for one excerpt: of what lies wholly inside it."""

    values: NDArray[np.float32]  # (steps, size)
    times: NDArray[np.float64]  # (steps,): seconds from the excerpt's start to each step's
    window: float  # seconds that each step spans from there; 0 if it holds at one time

    def within(self, first: float, last: float) -> "Taught | None":
        """Return what lies between two times, in seconds, or None if nothing does."""
        kept = (self.times >= first - EDGE) & (self.times + self.window <= last + EDGE)
        return Taught(self.values[kept], self.times[kept], self.window) if kept.any() else None


class Lessons:
    """The values of one teacher for the recordings of a pack."""

    def __init__(self, facts: Facts, file: Path, places: Mapping[str, Place]) -> None:
        self.facts, self.file, self.places = facts, file, places
        rows = max((place.first + place.steps for place in places.values()), default=0)
        self.values: NDArray[np.float16] = np.zeros((0, facts.size), np.float16)
        if rows:
            self.values = np.memmap(file, "<f2", "r", shape=(rows, facts.size))

    @classmethod
    def open(cls, folder: Path, name: str, items: Sequence[Mapping[str, Any]]) -> "Lessons | None":
        """Open what is there of a teacher beside a pack, or return None.

        Raises
        ------
        ConfigError
            If it is damaged, or was made of other recordings than `items`.
        """
        file, index = files(folder, name)
        if not index.is_file():
            return None
        facts, places = read_places(index)
        if facts is None:
            return None
        check_places(folder, facts, places, items)
        return cls(facts, file, {place.path: place for place in places})

    def __reduce__(self) -> tuple[type["Lessons"], tuple[Facts, Path, Mapping[str, Place]]]:
        """Be opened again in another process, instead of sending all values there."""
        return Lessons, (self.facts, self.file, self.places)

    @property
    def known(self) -> int:
        """Number of recordings that have values."""
        return sum(place.steps > 0 for place in self.places.values())

    def excerpt(self, path: str, start: float, seconds: float) -> Taught | None:
        """Return what is known of a stretch of a recording.

        Parameters
        ----------
        path
            Of the recording.
        start, seconds
            Where in the recording the stretch begins, and how long it is.

        Raises
        ------
        ConfigError
            If values are not finite.
        """
        place, facts = self.places.get(path), self.facts
        if place is None or not place.steps:
            return None
        rows = self.values[place.first : place.first + place.steps]
        if facts.kind == "clips":
            return Taught(self._finite(rows[:1], path), np.zeros(1), seconds)
        first = max(0, int(np.floor(start / facts.hop)))
        last = int(np.ceil((start + seconds) / facts.hop)) + 1
        values = self._finite(rows[first:last], path)
        times = np.arange(first, first + len(values), dtype=np.float64) * facts.hop - start
        return Taught(values, times, facts.window).within(0.0, seconds)

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and covariance of the values; of evenly spread rows if there are many.

        Raises
        ------
        ConfigError
            If values are not finite.
        """
        values = self._spread().astype(np.float64)
        mean = values.mean(axis=0)
        values -= mean
        return mean, values.T @ values / len(values)

    def idle(self) -> tuple[int, int, int]:
        """Return how many of the values say nothing, how many little, and of how many steps.

        Of evenly spread steps if there are many. Nothing say those that are the same in all of
        them; little those that are so small that 16-bit floats keep few of their digits.

        Raises
        ------
        ConfigError
            If values are not finite.
        """
        values = self._spread().astype(np.float32)
        if len(values) < 2:  # nothing to compare
            return 0, 0, len(values)
        same = values.min(axis=0) == values.max(axis=0)
        faint = np.abs(values).max(axis=0) < SMALLEST
        return int(same.sum()), int((faint & ~same).sum()), len(values)

    def _spread(self) -> NDArray[np.float16]:
        """Return evenly spread rows, at most `ENOUGH`."""
        step = max(1, -(-len(self.values) // ENOUGH))
        rows = self.values[::step]
        wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1)) * step
        if len(wrong):
            places = self.places.values()
            before = [(p.first, p.path) for p in places if p.steps and p.first <= wrong[0]]
            self._refuse(max(before, default=(0, "no recording"))[1])
        return rows

    def _finite(self, rows: NDArray[np.float16], path: str) -> NDArray[np.float32]:
        """Return rows of a recording as they are to be used."""
        values = rows.astype(np.float32)
        if not np.isfinite(values).all():
            self._refuse(path)
        return values

    def _refuse(self, path: str) -> NoReturn:
        """Say that the file is damaged.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError(
            f"{self.file} holds values of {path} that are not finite, which is never written: it "
            f"is damaged. Delete {self.file.stem}.* and {AGAIN}."
        )

    def digest(self) -> str:
        """Return the SHA-256 of the values."""
        return hashlib.sha256(self.values.data).hexdigest()
