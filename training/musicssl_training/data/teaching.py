"""Stored values of a teacher for the recordings of a pack: values, and where each lies.

``teacher-NAME.f16`` holds rows of 16-bit floats, ``teacher-NAME.jsonl`` the facts of the teacher in
its first line and ``{"path", "samples", "first", "steps"}`` of a recording in each of the others.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError

KINDS = ("frames", "patches", "clips")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
ENOUGH = 50_000  # rows that moments are taken of, at most
EDGE = 1e-4  # seconds by which a patch may stick out: the rounding of times


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about a teacher and the meaning of its values."""

    name: str  # small letters, digits, - and _
    model: str  # in words
    sha256: str  # of the weights
    licence: str
    trained_on: str  # data, and labels where it had any
    kind: str  # "frames", "patches" or "clips"
    size: int  # values a step
    hop: float = 0.0  # seconds from one step to the next; step 0 is at 0, or begins there
    window: float = 0.0  # seconds of a patch

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"a teacher's name has small letters, digits, - and _ only, got {self.name!r}."
            )
        if self.kind not in KINDS:
            raise ConfigError(f"teacher {self.name}: kind is one of {KINDS}, got {self.kind!r}.")
        if self.size < 1 or (self.kind != "clips" and self.hop <= 0):
            raise ConfigError(
                f"teacher {self.name}: size and hop must be positive, got {self.size}, {self.hop}."
            )
        if (self.kind == "patches") != (self.window > 0):
            raise ConfigError(
                f"teacher {self.name}: patches, and nothing else, have a window; "
                f"got {self.window} s for {self.kind}."
            )

    def same_values(self, other: "Facts") -> bool:
        """Tell whether another one's values are the same, whatever is told of its licence."""
        return replace(self, licence=other.licence, trained_on=other.trained_on) == other


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

    def __init__(self, facts: Facts, file: Path, places: Mapping[str, "Place"]) -> None:
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

    def __reduce__(self) -> tuple[type["Lessons"], tuple[Facts, Path, Mapping[str, "Place"]]]:
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
        """
        place, facts = self.places.get(path), self.facts
        if place is None or not place.steps:
            return None
        rows = self.values[place.first : place.first + place.steps]
        if facts.kind == "clips":
            return Taught(rows[:1].astype(np.float32), np.zeros(1), seconds)
        first = max(0, int(np.floor(start / facts.hop)))
        last = int(np.ceil((start + seconds) / facts.hop)) + 1
        values = rows[first:last].astype(np.float32)
        times = np.arange(first, first + len(values), dtype=np.float64) * facts.hop - start
        return Taught(values, times, facts.window).within(0.0, seconds)

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and covariance of the values; of evenly spread rows if there are many."""
        values = self.values[:: max(1, -(-len(self.values) // ENOUGH))].astype(np.float64)
        mean = values.mean(axis=0)
        values -= mean
        return mean, values.T @ values / len(values)

    def digest(self) -> str:
        """Return the SHA-256 of the values."""
        return hashlib.sha256(self.values.data).hexdigest()


@dataclass(frozen=True)
class Place:
    """Place of a recording's values in the file."""

    path: str
    samples: int  # of the recording, in the pack
    first: int  # row
    steps: int  # rows


def files(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the files of values and of places of a teacher beside a pack."""
    return folder / f"teacher-{name}.f16", folder / f"teacher-{name}.jsonl"


def teaching_digest(folder: Path, name: str) -> str:
    """Return a short hash of what a teacher's index says: who was asked, of what, how much came.

    It is the same in whatever order the recordings were asked about, and empty where there is no
    such index. The values themselves are not read.

    Raises
    ------
    ConfigError
        If the index is damaged.
    """
    facts, places = read_places(files(folder, name)[1])
    if facts is None:
        return ""
    rows = sorted((asdict(place) | {"first": 0} for place in places), key=lambda row: row["path"])
    return hashlib.sha256(json.dumps([asdict(facts), *rows]).encode()).hexdigest()[:16]


def read_places(index: Path) -> tuple[Facts | None, list[Place]]:
    """Return a teacher's facts and the whole lines of its index; None and nothing if it has none.

    Raises
    ------
    ConfigError
        If a line says something else.
    """
    lines = index.read_text(encoding="utf-8").splitlines(keepends=True) if index.is_file() else []
    whole = [line for line in lines if line.endswith("\n")]
    try:
        rows = [json.loads(line) for line in whole]
        if not rows:
            return None, []
        return Facts(**rows[0]), [Place(**row) for row in rows[1:]]
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{index} is damaged ({error}); delete it.") from error


def check_places(
    folder: Path, facts: Facts, places: Iterable[Place], items: Iterable[Mapping[str, Any]]
) -> int:
    """Return the rows that a teacher's values need.

    Raises
    ------
    ConfigError
        If its file holds fewer, or the values are of other recordings than `items`.
    """
    file, index = files(folder, facts.name)
    lengths = {item["path"]: item["samples"] for item in items}
    needed = 0
    for place in places:
        if lengths.get(place.path) != place.samples:
            raise ConfigError(
                f"{index} speaks of {place.path} with {place.samples:,} samples, the pack has "
                f"{lengths.get(place.path, 'none')}: was it made again? Delete {file.stem}.*, "
                "and run `musicssl-train teach` again."
            )
        needed = max(needed, place.first + place.steps)
    there = file.stat().st_size // (2 * facts.size) if file.is_file() else 0
    if there < needed:
        raise ConfigError(
            f"{file} holds {there:,} rows, {index.name} says {needed:,}: copied in part? "
            "Delete both and run `musicssl-train teach` again."
        )
    return needed


def to_line(row: Facts | Place) -> bytes:
    """Return a line of the index."""
    return json.dumps(asdict(row)).encode() + b"\n"
