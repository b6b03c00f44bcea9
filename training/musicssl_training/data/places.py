"""Places of a teacher's values in a file: which rows are of which recording, and of what audio."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from musicssl.errors import ConfigError, shown
from musicssl_training.data.facts import Facts
from musicssl_training.data.recordings import AUDIO_HASH, length_of

AGAIN = "run `musicssl-train teach` again"


@dataclass(frozen=True)
class Place:
    """Place of a recording's values in the file."""

    path: str
    samples: int  # of the recording, in the pack
    first: int  # row
    steps: int  # rows
    audio_hash: str = ""  # of the samples, as the pack's index has it; "" in older versions


def files(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the files of values and of places of a teacher beside a pack."""
    return folder / f"teacher-{name}.f16", folder / f"teacher-{name}.jsonl"


def read_places(index: Path) -> tuple[Facts | None, list[Place]]:
    """Return a teacher's facts and the whole lines of its index; None and nothing if it has none.

    Raises
    ------
    ConfigError
        If a line says something else.
    """
    *lines, _ = index.read_bytes().split(b"\n") if index.is_file() else [b""]
    facts, places = None, []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ConfigError(f"{shown(row)} is no row")
            if facts is None:
                facts = Facts(**row)
                if f"teacher-{facts.name}" != index.stem:
                    raise ConfigError(f"it is of teacher {facts.name!r}: was it renamed?")
            else:
                places.append(_place(row))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{index}, line {number}, is damaged ({str(error).removesuffix('.')}). Delete "
                f"{index.stem}.* and {AGAIN}."
            ) from error
    return facts, places


def _place(row: dict[str, Any]) -> Place:
    """Return a line of an index as a place.

    Raises
    ------
    ValueError
        If a value is none of its kind.
    """
    place = Place(**row)
    for key, value in asdict(place).items():
        kind = str if key in ("path", "audio_hash") else int
        if type(value) is not kind or (isinstance(value, int) and value < 0):
            raise ValueError(f"{key} is {shown(value)}")
    return place


def check_places(
    folder: Path, facts: Facts, places: Iterable[Place], items: Iterable[Mapping[str, Any]]
) -> int:
    """Return the rows that a teacher's values need.

    Parameters
    ----------
    folder
        The pack's.
    facts, places
        From the teacher's index.
    items
        The pack's recordings.

    Raises
    ------
    ConfigError
        If its file holds fewer, rows lie on one another or are too many or few for a recording, or
        the values are of other recordings or other audio than `items`.
    """
    file, index = files(folder, facts.name)
    known = {item["path"]: item for item in items}
    needed = 0
    for place in sorted(places, key=lambda place: place.first):
        item = known.get(place.path)
        _check_audio(index, place, item)
        wrong = place.steps and item and facts.misfit(place.steps, length_of(item))
        if place.steps and place.first < needed:
            wrong = f"row {place.first:,}, which is another recording's"
        if wrong:
            raise ConfigError(
                f"{index} has of {place.path} {wrong}. It is damaged, or the teacher has other "
                f"steps than it says: delete {file.stem}.* and {AGAIN}."
            )
        needed = max(needed, place.first + place.steps)
    there = file.stat().st_size // (2 * facts.size) if file.is_file() else 0
    if there < needed:
        raise ConfigError(
            f"{file} holds {there:,} rows, {index.name} says {needed:,}: copied in part? "
            f"Delete both and {AGAIN}."
        )
    return needed


def _check_audio(index: Path, place: Place, item: Mapping[str, Any] | None) -> None:
    """Refuse values of other audio than a pack has.

    Raises
    ------
    ConfigError
        If the recording is not in it, or is of another length or of other samples.
    """
    samples = None if item is None else item["samples"]
    if item is None or samples != place.samples:
        raise ConfigError(
            f"{index} speaks of {place.path} with {place.samples:,} samples, the pack has "
            f"{'none' if samples is None else f'{samples:,}'}: was it made again? Delete "
            f"{index.stem}.*, and {AGAIN}."
        )
    now = item.get(AUDIO_HASH)
    if place.audio_hash and now and place.audio_hash != now:
        raise ConfigError(
            f"{index} tells what was said of other audio of the name {place.path}: the pack was "
            f"made again since. Delete {index.stem}.*, and {AGAIN}."
        )


def to_line(row: Facts | Place) -> bytes:
    """Return a line of the index."""
    said = asdict(row)
    if said.get(AUDIO_HASH) == "":
        del said[AUDIO_HASH]  # as older versions wrote it
    return json.dumps(said).encode() + b"\n"
