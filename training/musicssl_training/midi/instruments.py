"""Instruments files: which sampled instruments play which General MIDI programs."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicssl.config import from_dict
from musicssl.errors import ConfigError, nearest, shown
from musicssl_training.midi.sfz import Sfz, read_sfz
from musicssl_training.midi.theory import DRUMS, FAMILIES
from musicssl_training.toml_file import read_toml

NAMES: dict[str, Iterable[int]] = FAMILIES | {"drums": (DRUMS,)}


@dataclass(frozen=True, kw_only=True)
class InstrumentSpec:
    """An entry of an instruments file.

    Attributes
    ----------
    name
        Of the library.
    sfz
        Path of its SFZ file.
    programs
        What it plays: General MIDI programs from 0, ranges such as "24-25", families such as
        "piano", or "drums".
    licence
        An SPDX identifier.
    source
        Where anyone gets it.
    evidence
        Files of the library that state the licence.
    keys
        MIDI pitches, or ranges, that it plays well; others are left to the SoundFont, as are those
        for which it has no samples. None: whatever it has.
    monophonic
        Whether each note of it ends the one before; chords are then left to the SoundFont.
    """

    name: str
    sfz: str
    programs: tuple[str, ...]
    licence: str
    source: str
    evidence: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    monophonic: bool = False

    def __post_init__(self) -> None:
        for key in ("name", "sfz", "licence", "source", "programs"):
            if not getattr(self, key):
                raise ConfigError(f"{key} is empty.")


@dataclass(frozen=True, kw_only=True)
class InstrumentsFile:
    """What an instruments file may say.

    Attributes
    ----------
    chance
        That a part whose program is in the file is played by it and not by the SoundFont.
    """

    instrument: tuple[InstrumentSpec, ...]
    chance: float = 0.5

    def __post_init__(self) -> None:
        if not self.instrument:
            raise ConfigError("it lists no instruments; each begins with [[instrument]].")
        if not 0 <= self.chance <= 1:
            raise ConfigError(f"chance must be from 0 to 1, got {self.chance}.")


@dataclass(frozen=True)
class Instrument:
    """A sampled instrument that is there."""

    name: str
    licence: str
    sfz: Sfz
    programs: frozenset[int]
    keys: frozenset[int]  # MIDI pitches that it plays
    monophonic: bool = False


@dataclass(frozen=True)
class Instruments:
    """Sampled instruments, and how often they play."""

    instruments: tuple[Instrument, ...] = ()
    chance: float = field(default=0.5, kw_only=True)

    def choose(self, program: int, rng: random.Random, *, chords: bool) -> Instrument | None:
        """Return the instrument of a part, with chords or not; None leaves it to the SoundFont."""
        fitting = [
            one
            for one in self.instruments
            if program in one.programs and not (chords and one.monophonic)
        ]
        return rng.choice(fitting) if fitting and rng.random() < self.chance else None


def read_instruments(file: Path, root: Path | None = None) -> Instruments:
    """Read an instruments file, and look whether all of it is there.

    Parameters
    ----------
    file
        TOML.
    root
        Where the paths in it start; None: its own folder.

    Raises
    ------
    ConfigError
        If anything in it is not as it must be, or an instrument or its samples are not there.
    DependencyError
        If sfizz is not installed.
    """
    values = read_toml(file)
    try:
        said = parse_instruments(values)
        return Instruments(
            tuple(_find(spec, root or file.parent) for spec in said.instrument), chance=said.chance
        )
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def parse_instruments(values: dict[str, Any]) -> InstrumentsFile:
    """Return what an instruments file says, whether or not the libraries are there.

    Raises
    ------
    ConfigError
        If anything in it is not as it must be.
    """
    return from_dict(InstrumentsFile, _as_texts(values), "instruments")


def _as_texts(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with numbers in lists as texts: ``programs = [0, "24-25"]``."""
    entries = values.get("instrument")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return values
    return values | {
        "instrument": [
            {
                key: [str(v) if type(v) is int else v for v in value]
                if isinstance(value, list)
                else value
                for key, value in entry.items()
            }
            for entry in entries
        ]
    }


def _find(spec: InstrumentSpec, root: Path) -> Instrument:
    path = root / spec.sfz
    try:
        programs = numbers(spec.programs, NAMES)
        sfz = read_sfz(path)
        keys = sfz.keys
        if spec.keys:
            keys &= numbers(spec.keys, {})
    except ConfigError as error:
        raise ConfigError(f"{spec.name}: {error}") from error
    if not keys:
        raise ConfigError(f"{spec.name}: {path} has no samples for the keys {list(spec.keys)}.")
    return Instrument(spec.name, spec.licence, sfz, programs, keys, spec.monophonic)


def numbers(texts: Iterable[str], names: dict[str, Iterable[int]]) -> frozenset[int]:
    """Return the numbers from 0 to 127 that texts such as "5" and "24-31", or names, stand for.

    Raises
    ------
    ConfigError
        If one is neither.
    """
    found: set[int] = set()
    for text in texts:
        first, dash, last = text.partition("-")
        if text in names:
            found.update(names[text])
        elif first.isdecimal() and (last.isdecimal() if dash else True):
            several = range(int(first), int(last or first) + 1)
            if not several or several[-1] > 127:
                raise ConfigError(f"{text} is no range of numbers from 0 to 127.")
            found.update(several)
        else:
            allowed = ", ".join(["numbers from 0 to 127", 'ranges such as "24-25"', *names])
            raise ConfigError(f"{shown(text)} is none of: {allowed}.{nearest(text, list(names))}")
    return frozenset(found)
